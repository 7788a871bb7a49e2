// Side panel of the explore page: the selected experiment with its verdict, star, tags, note,
// recipe, metrics and actions, or two to four selected ones side by side with what they have in
// common left out. GUI thread only.
#pragma once

#include <QFrame>
#include <vector>

#include "ui/charts/chart_theme.h"
#include "ui/pages/explore_detail_html.h"

class QLabel;
class QLineEdit;
class QPushButton;
class QScrollArea;
class QStackedWidget;
class QToolButton;
class QVBoxLayout;

namespace fettle::ui {

class ExploreAnnotations;

class ExploreDetailPanel : public QFrame {
    Q_OBJECT

public:
    explicit ExploreDetailPanel(QWidget* parent = nullptr);

    void setSelection(const std::vector<SelectedExperiment>& selected);
    void setReadOnly(bool readOnly);
    void setTheme(const ChartTheme& theme);
    void startRename();
    void startTag();
    void startNote();
    /// Offered while a tag is typed.
    void setKnownTags(const QStringList& tags);
    QString verdictText() const;

signals:
    void openRequested();
    void exportRequested();
    void rerunRequested();
    void compareRequested();
    void allocationRequested();
    void removeRequested();
    void copyCsvRequested();
    void copyImageRequested();
    void copySvgRequested();
    void saveImageRequested();
    void renamed(const QString& name);
    void favouriteRequested(bool favourite);
    void tagRequested(const QString& tag, bool on);
    void noteRequested(qint64 id, const QString& note);

protected:
    bool eventFilter(QObject* watched, QEvent* event) override;

private:
    void showOne(const SelectedExperiment& selected);
    void showSeveral(const std::vector<SelectedExperiment>& selected);
    void showStar(const std::vector<SelectedExperiment>& selected);
    void buildActions(QVBoxLayout& column);
    void endRename(bool keep);

    ChartTheme m_theme;
    bool m_readOnly = false;
    std::size_t m_count = 0;
    QWidget* m_head;
    QStackedWidget* m_title;
    QToolButton* m_star;
    ExploreAnnotations* m_annotations;
    QLabel* m_name;
    QLineEdit* m_nameEdit;
    QLabel* m_subtitle;
    QFrame* m_verdictCard;
    QLabel* m_verdict;
    QLabel* m_body;
    QLabel* m_hint;
    QScrollArea* m_scroll;
    QWidget* m_actions;
    QPushButton* m_open;
    QPushButton* m_compare;
    QPushButton* m_export;
    QPushButton* m_rerun;
    QPushButton* m_rename;
    QPushButton* m_copy;
    QPushButton* m_remove;
    QPushButton* m_allocate;
};

}  // namespace fettle::ui
