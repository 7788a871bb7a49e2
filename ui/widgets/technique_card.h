// One step of a recipe as a card: title, buttons, form, problems. Reports what the user wants;
// changes nothing itself. GUI thread only.
#pragma once

#include <QFrame>
#include <QStringList>

#include "engine/experiment/technique_schema.h"

class QLabel;
class QToolButton;

namespace fettle::ui {

class ParameterForm;

class TechniqueCard : public QFrame {
    Q_OBJECT

public:
    static constexpr const char* kMimeType = "application/x-fettle-step";

    /// `technique` null: a step that this version does not know; it can be moved and removed only.
    TechniqueCard(const TechniqueDescriptor* technique, const QString& title,
                  QWidget* parent = nullptr);

    void setPosition(int row, int count);
    void setValues(const nlohmann::json& params);
    void setProblems(const QStringList& problems);
    int row() const { return m_row; }
    ParameterForm* form() const { return m_form; }

signals:
    void edited(const std::string& parameter, const nlohmann::json& value);
    void resetRequested(const std::string& parameter);
    void sweepRequested(const std::string& parameter);
    void duplicateRequested();
    void removeRequested();
    void moveRequested(int to);

protected:
    bool eventFilter(QObject* watched, QEvent* event) override;

private:
    QToolButton* addButton(const char* icon, const QString& tip, const char* name);
    void startDrag();
    void setCollapsed(bool collapsed);

    int m_row = 0;
    QLabel* m_grip;
    QLabel* m_number;
    QLabel* m_problems;
    ParameterForm* m_form = nullptr;
    QWidget* m_body = nullptr;
    QToolButton* m_fold = nullptr;
    QToolButton* m_up = nullptr;
    QToolButton* m_down = nullptr;
    QPoint m_pressed;
};

}  // namespace fettle::ui
