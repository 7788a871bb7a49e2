// The Export page: what to write, in which format, where to; then the proof that the file is what
// it claims. GUI thread only.
#pragma once

#include <QWidget>

#include "engine/experiment/job_values.h"

class QCheckBox;
class QComboBox;
class QLabel;
class QLineEdit;
class QListWidget;
class QProgressBar;
class QPushButton;
class QVBoxLayout;

namespace fettle::ui {

class JobController;
class LibraryChoice;

class ExportPage : public QWidget {
    Q_OBJECT

public:
    explicit ExportPage(JobController* jobs, QWidget* parent = nullptr);

    /// Fills the list of things to export: finished experiments, then the models of the library.
    void reload();
    void chooseExperiment(qint64 id);
    void setDestination(const QString& path);
    void run();
    QComboBox* source() const { return m_source; }
    QListWidget* formats() const { return m_formats; }
    QPushButton* exportButton() const { return m_export; }
    LibraryChoice* calibration() const { return m_calibration; }
    QString resultText() const;

signals:
    void errorOccurred(const QString& title, const QString& message);
    void exported(const QString& path);

private:
    QWidget* buildForm();
    QWidget* buildSide();
    void showFormat();
    void proposeDestination();
    void browse();
    void updateButton();
    void follow(const JobEvent& event);
    void showReport(const ExportReport& report);
    void clearResult(const QString& text);
    void openFolder();

    JobController* m_jobs;
    QComboBox* m_source;
    QListWidget* m_formats;
    QLabel* m_formatHelp;
    QLabel* m_loadedBy;
    QLineEdit* m_destination;
    QLabel* m_calibrationLabel;
    LibraryChoice* m_calibration;
    QCheckBox* m_verify;
    QPushButton* m_export;
    QPushButton* m_cancel;
    QPushButton* m_open;
    QProgressBar* m_progress;
    QLabel* m_phase;
    QLabel* m_resultTitle;
    QVBoxLayout* m_checks;
    JobId m_job = 0;
    bool m_destinationTouched = false;
};

}  // namespace fettle::ui
