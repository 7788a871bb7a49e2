// The Playground: one prompt, answered by up to four models side by side, drafted tokens marked,
// with the speed and memory of each; a blind vote between two. One engine thread computes: models
// answer one after the other, so that each is timed alone. GUI thread only.
#pragma once

#include <QWidget>
#include <deque>
#include <vector>

#include "engine/experiment/job_values.h"
#include "ui/widgets/answer_column.h"

class QCheckBox;
class QDoubleSpinBox;
class QHBoxLayout;
class QLabel;
class QPlainTextEdit;
class QPushButton;
class QSpinBox;

namespace fettle::ui {

class JobController;

class PlaygroundPage : public QWidget {
    Q_OBJECT

public:
    static constexpr std::size_t kMostColumns = 4;
    enum class Vote { First, Second, Tie };

    explicit PlaygroundPage(JobController* jobs, QWidget* parent = nullptr);

    /// Fills the lists of models: the library's, then finished experiments.
    void reload();
    void addColumn(const QString& path = {});
    void removeColumn(AnswerColumn* column);
    void run();
    void stop();
    void setPaused(bool paused);
    /// Drafts branch, and the guesses of the newest pass are drawn below each answer.
    void showTrees(bool shown);
    /// Shows one more pass of the model while paused.
    void step();
    void vote(Vote vote);

    const std::vector<AnswerColumn*>& columns() const { return m_columns; }
    QPlainTextEdit* prompt() const { return m_prompt; }
    QPushButton* runButton() const { return m_run; }
    QPushButton* pauseButton() const { return m_pause; }
    QPushButton* stepButton() const { return m_step; }
    QCheckBox* blind() const { return m_blind; }
    QCheckBox* plainToo() const { return m_plainToo; }
    QCheckBox* treeBox() const { return m_tree; }
    bool isRunning() const { return m_job != 0 || !m_turns.empty(); }
    bool isVoting() const { return m_voting; }
    QString noteText() const;

signals:
    void errorOccurred(const QString& title, const QString& message);

private:
    struct Turn {
        AnswerColumn* column = nullptr;
        bool plain = false;  ///< the same without draft, for its speed
    };

    QWidget* buildPrompt();
    QWidget* buildSampling();
    QWidget* buildVote();
    QWidget* buildLegend();
    QDoubleSpinBox* addShare(QHBoxLayout* row, const QString& title, const QString& help,
                             double high, double value);
    QSpinBox* addNumber(QHBoxLayout* row, const QString& title, const QString& help, int low,
                        int high, int value);
    GenerateRequest requestFor(const AnswerColumn& column) const;
    void shuffleBlind();
    void nextTurn();
    void follow(const JobEvent& event);
    void updateButtons();
    void countVote(const AnswerSource& source, double won);
    qint64 experimentOf(const AnswerSource& source) const;

    JobController* m_jobs;
    std::vector<AnswerColumn*> m_columns;
    std::vector<AnswerSource> m_sources;
    std::deque<Turn> m_turns;
    Turn m_turn;
    JobId m_job = 0;
    bool m_voting = false;
    QPlainTextEdit* m_prompt = nullptr;
    QCheckBox* m_chat = nullptr;
    QCheckBox* m_plainToo = nullptr;
    QCheckBox* m_tree = nullptr;
    QCheckBox* m_blind = nullptr;
    QSpinBox* m_tokens = nullptr;
    QDoubleSpinBox* m_temperature = nullptr;
    QSpinBox* m_topK = nullptr;
    QDoubleSpinBox* m_topP = nullptr;
    QDoubleSpinBox* m_minP = nullptr;
    QSpinBox* m_seed = nullptr;
    QPushButton* m_run = nullptr;
    QPushButton* m_stop = nullptr;
    QPushButton* m_pause = nullptr;
    QPushButton* m_step = nullptr;
    QPushButton* m_add = nullptr;
    QLabel* m_note = nullptr;
    QWidget* m_voteBar = nullptr;
    QLabel* m_voteText = nullptr;
    QHBoxLayout* m_columnRow = nullptr;
};

}  // namespace fettle::ui
