// One model of the playground: which model, with which draft, its answer as it comes, and what it
// took. GUI thread only.
#pragma once

#include <QFrame>
#include <optional>
#include <vector>

#include "engine/experiment/job_values.h"

class QComboBox;
class QLabel;
class QStackedWidget;
class QToolButton;

namespace fettle::ui {

class DraftTreeView;
class TokenView;

/// Something that can answer: a model of the library or the artifact of an experiment.
struct AnswerSource {
    QString title;
    QString path;
    qint64 experiment = 0;  ///< 0: a model of the library
};

class AnswerColumn : public QFrame {
    Q_OBJECT

public:
    enum class State { Idle, Waiting, Running, Done, Failed, Cancelled };

    explicit AnswerColumn(QWidget* parent = nullptr);

    void setSources(const std::vector<AnswerSource>& sources);
    AnswerSource source() const;
    void setSourcePath(const QString& path);
    QString draft() const;
    void setDraft(const QString& draft);
    void setRemovable(bool removable);
    /// Hides what tells which model this is behind a name; empty: shows it again.
    void setBlindName(const QString& name);

    void setState(State state, const QString& text = {});
    State state() const { return m_state; }
    void begin();
    void append(const JobText& text);
    void finish(const GenerateReport& report);
    /// The same answer without drafting: its speed beside the one with.
    void setPlainReport(const GenerateReport& report);
    TokenView* view() const { return m_view; }
    DraftTreeView* tree() const { return m_tree; }
    QString statistics() const;

signals:
    void changed();
    void removeRequested();

private:
    void showStatistics();

    std::vector<AnswerSource> m_sources;
    QComboBox* m_source;
    QComboBox* m_draft;
    QToolButton* m_remove;
    QLabel* m_blindName;
    QStackedWidget* m_head;
    TokenView* m_view;
    DraftTreeView* m_tree;
    QLabel* m_stateLabel;
    QLabel* m_statistics;
    State m_state = State::Idle;
    std::optional<GenerateReport> m_report;
    std::optional<GenerateReport> m_plain;
    bool m_blind = false;
};

}  // namespace fettle::ui
