// A form made from a technique's parameter schema: one row per parameter with label, editor, "back
// to default" and "sweep". Rows appear and vanish as visibleWhen says. Holds no values of its own.
// GUI thread only.
#pragma once

#include <QWidget>
#include <string>
#include <vector>

#include "engine/experiment/technique_schema.h"

class QGridLayout;
class QLabel;
class QToolButton;

namespace fettle::ui {

class ParameterEditor;

class ParameterForm : public QWidget {
    Q_OBJECT

public:
    explicit ParameterForm(const TechniqueDescriptor& technique, QWidget* parent = nullptr);

    /// Shows the given values; parameters that are absent show their default.
    void setValues(const nlohmann::json& params);
    ParameterEditor* editor(const std::string& parameter) const;
    bool isRowVisible(const std::string& parameter) const;

signals:
    void edited(const std::string& parameter, const nlohmann::json& value);
    void resetRequested(const std::string& parameter);
    void sweepRequested(const std::string& parameter);

private:
    struct Row {
        ParameterSchema schema;
        QLabel* label;
        ParameterEditor* editor;
        QLabel* note;
        QToolButton* reset;
        QToolButton* sweep;  ///< null where sweeping makes no sense
        bool visible = true;
    };

    void addRow(const ParameterSchema& schema, QGridLayout* grid, int at);
    const Row* find(const std::string& parameter) const;

    std::vector<Row> m_rows;
};

}  // namespace fettle::ui
