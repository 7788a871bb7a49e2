// The Compare page: two to four experiments side by side. The first is the reference; every
// difference from it is tested on paired values of the same tokens and said in words. GUI thread
// only.
#pragma once

#include <QTimer>
#include <QWidget>
#include <vector>

#include "ui/models/compared_experiments.h"

class QAbstractItemModel;
class QCheckBox;
class QComboBox;
class QFrame;
class QHBoxLayout;
class QLabel;
class QPushButton;
class QStackedWidget;
class QTabWidget;
class QTableView;

namespace fettle::ui {

class CompareAnswers;
class CompareLayers;
class CompareMetricsModel;
class CompareRoofline;
class CompareTokens;
class CompareWeights;
class JobController;
class RecipeDiffModel;
class SeriesChart;

class ComparePage : public QWidget {
    Q_OBJECT

public:
    static constexpr std::size_t kMost = 4;

    /// `jobs` and its services must outlive the page.
    explicit ComparePage(JobController* jobs, QWidget* parent = nullptr);

    /// Shows these, the first as the reference; unknown ones are left out. Where a baseline is
    /// among them, it becomes the reference.
    void compare(std::vector<qint64> ids);
    std::vector<qint64> ids() const { return m_ids; }
    void makeReference(qint64 id);
    void removeExperiment(qint64 id);
    /// Opens the dialog that adds experiments.
    void choose();
    QString findingsText() const;

    QTabWidget* tabs() const { return m_tabs; }
    CompareTokens* tokens() const { return m_tokens; }
    CompareLayers* layers() const { return m_layers; }
    CompareWeights* weights() const { return m_weights; }
    CompareRoofline* roofline() const { return m_roofline; }
    RecipeDiffModel* recipes() const { return m_recipes; }
    CompareMetricsModel* metrics() const { return m_metrics; }

protected:
    void changeEvent(QEvent* event) override;

private:
    void buildHeader(QWidget* page);
    void buildTabs();
    QWidget* buildNumbers();
    QWidget* buildRecipes();
    QWidget* buildCurves();
    QTableView* makeTable(QAbstractItemModel* model, const QString& name);
    QWidget* makeChip(std::size_t index);
    void reload();
    void showHeader();
    void showFindings();
    void showCurves();
    void chooseCurve();
    void updateTheme();

    JobController* m_jobs;
    std::vector<qint64> m_ids;
    ComparedExperiments m_experiments;
    QStackedWidget* m_stack;
    QHBoxLayout* m_chips = nullptr;
    QPushButton* m_add = nullptr;
    QFrame* m_findingsCard = nullptr;
    QLabel* m_findings = nullptr;
    QTabWidget* m_tabs = nullptr;
    CompareMetricsModel* m_metrics;
    RecipeDiffModel* m_recipes;
    QTableView* m_metricsTable = nullptr;
    QTableView* m_recipesTable = nullptr;
    QCheckBox* m_showEqual = nullptr;
    QLabel* m_equalNote = nullptr;
    QComboBox* m_curve = nullptr;
    SeriesChart* m_curves = nullptr;
    CompareLayers* m_layers = nullptr;
    CompareAnswers* m_answers = nullptr;
    CompareTokens* m_tokens = nullptr;
    CompareWeights* m_weights = nullptr;
    CompareRoofline* m_roofline = nullptr;
    QTimer m_reload;  ///< gathers bursts of changes
};

}  // namespace fettle::ui
