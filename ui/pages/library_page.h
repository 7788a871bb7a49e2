// The Library dock: models, texts and task sets; add by dialog or by dropping files; facts of the
// chosen model below. GUI thread only.
#pragma once

#include <QHash>
#include <QWidget>

#include "engine/experiment/model_report.h"
#include "ui/bridge/experiment_service.h"

class QFormLayout;
class QLabel;
class QMimeData;
class QModelIndex;
class QPushButton;
class QToolButton;
class QTreeView;

namespace fettle::ui {

class JobController;
class LibraryModel;

class LibraryPage : public QWidget {
    Q_OBJECT

public:
    explicit LibraryPage(JobController* jobs, QWidget* parent = nullptr);

    /// Reads the library anew; called after the window is shown and whenever it changes.
    void reload();
    /// Adds files or folders; each that does not fit is reported through errorOccurred.
    void addPaths(const QStringList& paths);
    void chooseFolder();
    void chooseFiles();
    QTreeView* view() const { return m_view; }
    LibraryModel* model() const { return m_model; }
    const ModelReport* report(const QString& path) const;

    /// The local paths of a drop, for whoever receives it.
    static QStringList pathsOf(const QMimeData* mime);

signals:
    void modelChosen(const QString& path);  ///< to be used by the recipe
    void inspectRequested(const QString& path);
    void errorOccurred(const QString& title, const QString& message);
    void added(const QString& name);

protected:
    void dragEnterEvent(QDragEnterEvent* event) override;
    void dragLeaveEvent(QDragLeaveEvent* event) override;
    void dropEvent(QDropEvent* event) override;

private:
    void addOne(const QString& path);
    void removeCurrent();
    void showCurrent();
    void showFacts(const ModelReport& report);
    void clearFacts(const QString& text);
    void showMenu(const QPoint& at);
    void store(LibraryItem item);

    JobController* m_jobs;
    LibraryModel* m_model;
    QTreeView* m_view;
    QWidget* m_facts;
    QFormLayout* m_factRows;
    QLabel* m_factsTitle;
    QLabel* m_hint;
    QPushButton* m_use;
    QPushButton* m_inspect;
    QToolButton* m_remove;
    QHash<QString, ModelReport> m_reports;
    QString m_selectAfterReload;
};

}  // namespace fettle::ui
