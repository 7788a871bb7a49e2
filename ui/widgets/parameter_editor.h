// One editor per parameter type of a technique. A factory makes the fitting one from the schema;
// JSON values go in and come out, so that forms need not know the types. GUI thread only.
#pragma once

#include <QDoubleSpinBox>
#include <QWidget>
#include <memory>

#include "engine/experiment/technique_schema.h"

namespace fettle::ui {

class ParameterEditor : public QWidget {
    Q_OBJECT

public:
    using QWidget::QWidget;

    /// Shows a value without emitting edited(); null shows "not set" where the type allows it.
    virtual void setValue(const nlohmann::json& value) = 0;
    virtual nlohmann::json value() const = 0;
    /// The control that takes the keyboard.
    virtual QWidget* control() const = 0;
    /// A line under the control that depends on the value, e.g. the help of the chosen entry.
    virtual QString note() const { return {}; }

signals:
    void edited(const nlohmann::json& value);
};

/// The editor for one parameter; never null.
ParameterEditor* makeParameterEditor(const ParameterSchema& parameter, QWidget* parent);

/// A spin box for numbers of any size: shows 0.0001 and 1e-05 as people write them, steps by the
/// leading digit.
class NumberSpinBox : public QDoubleSpinBox {
    Q_OBJECT

public:
    explicit NumberSpinBox(QWidget* parent = nullptr);

    QString textFromValue(double value) const override;
    double valueFromText(const QString& text) const override;
    QValidator::State validate(QString& input, int& pos) const override;

protected:
    void wheelEvent(QWheelEvent* event) override;
};

}  // namespace fettle::ui
