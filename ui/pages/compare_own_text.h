// Part of the Compare page: a text of the user's own, and the job that scores it with two models so
// that the strip can show where their predictions part. GUI thread only.
#pragma once

#include <QTemporaryFile>
#include <QWidget>
#include <memory>

#include "engine/experiment/job_values.h"

class QLabel;
class QPlainTextEdit;
class QProgressBar;
class QPushButton;

namespace fettle::ui {

class JobController;

class CompareOwnText : public QWidget {
    Q_OBJECT

public:
    /// Longest text that is scored; more would not be looked at token by token.
    static constexpr std::int64_t kMostTokens = EvaluationTrace::kMaxTokens;

    explicit CompareOwnText(JobController* jobs, QWidget* parent = nullptr);
    ~CompareOwnText() override;

    /// Which models are held against each other; `problem` says why they cannot be.
    void setModels(const std::string& model, const std::string& reference, int context,
                   const QString& problem);
    /// Scores the text that is in the field, as it stands.
    void run();
    void cancel();
    bool isRunning() const { return m_job != 0; }
    QPlainTextEdit* text() const { return m_text; }
    QPushButton* runButton() const { return m_run; }
    QPushButton* cancelButton() const { return m_cancel; }
    QLabel* status() const { return m_status; }
    /// Takes the text of a file, up to what can be scored.
    bool readFile(const QString& path);

signals:
    /// Values per token of the text, against the reference.
    void traceReady(const fettle::EvaluationTrace& trace);

private:
    void chooseFile();
    void updateButtons();

    JobController* m_jobs;
    QPlainTextEdit* m_text;
    QPushButton* m_file;
    QPushButton* m_run;
    QPushButton* m_cancel;
    QProgressBar* m_progress;
    QLabel* m_status;
    std::string m_model;
    std::string m_reference;
    QString m_problem;
    int m_context = 256;
    std::unique_ptr<QTemporaryFile> m_scored;  ///< what the engine reads; gone with the answer
    JobId m_job = 0;
};

}  // namespace fettle::ui
