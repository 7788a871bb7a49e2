// Part of the Compare page: answers to the same prompt side by side, the first word that leaves the
// first answer marked. GUI thread only.
#pragma once

#include <QWidget>

#include "ui/models/compared_experiments.h"

class QLabel;
class QVBoxLayout;

namespace fettle::ui {

class CompareAnswers : public QWidget {
    Q_OBJECT

public:
    explicit CompareAnswers(QWidget* parent = nullptr);
    void setExperiments(const ComparedExperiments& experiments);

protected:
    void changeEvent(QEvent* event) override;

private:
    void rebuild();
    QWidget* makePrompt(const std::string& prompt);
    QWidget* makeAnswer(std::size_t experiment, const std::string& prompt);

    ComparedExperiments m_experiments;
    QVBoxLayout* m_column;
    QWidget* m_content = nullptr;
};

}  // namespace fettle::ui
