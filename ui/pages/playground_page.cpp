#include "ui/pages/playground_page.h"

#include <QAction>
#include <QCheckBox>
#include <QDoubleSpinBox>
#include <QHBoxLayout>
#include <QLabel>
#include <QPlainTextEdit>
#include <QPushButton>
#include <QRandomGenerator>
#include <QSpinBox>
#include <QVBoxLayout>
#include <algorithm>
#include <cmath>
#include <utility>

#include "ui/bridge/job_controller.h"
#include "ui/widgets/draft_tree_view.h"
#include "ui/widgets/icons.h"
#include "ui/widgets/theme.h"
#include "ui/widgets/token_view.h"

namespace fettle::ui {
namespace {

constexpr double kZ = 1.959964;  ///< 95% of a normal distribution

/// Wilson's interval of a share, in %: holds for few votes as well.
std::pair<double, double> wilson(double share, double votes) {
    const double z2 = kZ * kZ / votes;
    const double centre = share + z2 / 2;
    const double half = kZ * std::sqrt(share * (1 - share) / votes + z2 / (4 * votes));
    return {100 * (centre - half) / (1 + z2), 100 * (centre + half) / (1 + z2)};
}

double metricOf(const ExperimentRecord& record, const char* name) {
    const auto found = record.metrics.find(name);
    return found == record.metrics.end() ? 0 : found->second.value;
}

}  // namespace

PlaygroundPage::PlaygroundPage(JobController* jobs, QWidget* parent)
    : QWidget(parent), m_jobs(jobs) {
    auto* column = new QVBoxLayout(this);
    column->setContentsMargins(kGapWide, 12, kGapWide, 12);
    column->setSpacing(kGap);
    column->addWidget(buildPrompt());
    column->addWidget(buildVote());
    auto* row = new QHBoxLayout;
    row->setSpacing(kGap);
    m_columnRow = row;
    column->addLayout(row, 1);
    column->addWidget(buildLegend());
    connect(jobs->engine(), &EngineBridge::jobEvent, this, &PlaygroundPage::follow);
    connect(jobs->experiments(), &ExperimentService::experimentsReset, this,
            &PlaygroundPage::reload);
    connect(jobs->experiments(), &ExperimentService::experimentChanged, this,
            &PlaygroundPage::reload);
    connect(jobs->experiments(), &ExperimentService::experimentsRemoved, this,
            &PlaygroundPage::reload);
    connect(jobs->experiments(), &ExperimentService::libraryChanged, this, &PlaygroundPage::reload);
    reload();
    addColumn();
    addColumn(m_sources.size() > 1 ? m_sources[1].path : QString());
    updateButtons();
}

QWidget* PlaygroundPage::buildPrompt() {
    auto* card = new QFrame(this);
    setStyleClass(card, "card");
    auto* column = new QVBoxLayout(card);
    column->setContentsMargins(12, 10, 12, 10);
    column->setSpacing(kGap);
    m_prompt = new QPlainTextEdit(card);
    m_prompt->setPlaceholderText(tr("The prompt that every model below answers"));
    m_prompt->setAccessibleName(tr("Prompt"));
    m_prompt->setTabChangesFocus(true);
    m_prompt->setPlainText(tr("Once upon a time"));
    m_prompt->setFixedHeight(fontMetrics().lineSpacing() * 3 + 14);
    column->addWidget(m_prompt);
    column->addWidget(buildSampling());

    auto* row = new QHBoxLayout;
    row->setSpacing(kGap);
    m_chat = new QCheckBox(tr("&Chat template"), card);
    m_chat->setChecked(true);
    m_chat->setToolTip(
        tr("Wraps the prompt as the model was trained to see it; a model without a known template "
           "gets it as it is, and says so."));
    m_plainToo = new QCheckBox(tr("Also with&out draft"), card);
    m_plainToo->setToolTip(
        tr("Answers once more without drafting where a column drafts, to show both speeds."));
    m_tree = new QCheckBox(tr("Tr&ee"), card);
    m_tree->setToolTip(
        tr("Drafts several guesses at one place and draws those of the newest pass below the "
           "answer. Pause and step to go through them one by one."));
    m_blind = new QCheckBox(tr("&Blind vote"), card);
    m_blind->setToolTip(
        tr("The first two models answer in an order nobody knows; names and speeds are shown after "
           "the vote, which is stored with their experiments."));
    m_add = new QPushButton(themedIcon(QStringLiteral("add")), tr("&Add model"), card);
    m_run = new QPushButton(themedIcon(QStringLiteral("play"), IconTint::OnAccent), tr("A&nswer"),
                            card);
    setStyleClass(m_run, "primary");
    m_run->setToolTip(tr("Ctrl+Return"));
    m_pause = new QPushButton(themedIcon(QStringLiteral("pause")), tr("&Pause"), card);
    m_pause->setCheckable(true);
    m_pause->setToolTip(
        tr("Holds the display. The model goes on behind it, so that its timing is not disturbed."));
    m_step = new QPushButton(tr("S&tep"), card);
    m_step->setToolTip(tr("Shows the tokens of one more pass of the model."));
    m_stop = new QPushButton(themedIcon(QStringLiteral("stop")), tr("&Stop"), card);
    for (QWidget* widget :
         std::initializer_list<QWidget*>{m_chat, m_plainToo, m_tree, m_blind, m_add}) {
        row->addWidget(widget);
    }
    row->addStretch();
    for (QPushButton* button : {m_pause, m_step, m_stop, m_run}) {
        row->addWidget(button);
    }
    column->addLayout(row);
    connect(m_add, &QPushButton::clicked, this, [this] { addColumn(); });
    connect(m_tree, &QCheckBox::toggled, this, &PlaygroundPage::showTrees);
    connect(m_run, &QPushButton::clicked, this, &PlaygroundPage::run);
    connect(m_stop, &QPushButton::clicked, this, &PlaygroundPage::stop);
    connect(m_pause, &QPushButton::toggled, this, &PlaygroundPage::setPaused);
    connect(m_step, &QPushButton::clicked, this, &PlaygroundPage::step);
    connect(m_prompt, &QPlainTextEdit::textChanged, this, &PlaygroundPage::updateButtons);
    auto* answer = new QAction(tr("Answer the prompt"), this);
    answer->setShortcuts(
        {QKeySequence(QStringLiteral("Ctrl+Return")), QKeySequence(QStringLiteral("Ctrl+Enter"))});
    answer->setShortcutContext(Qt::WidgetWithChildrenShortcut);
    connect(answer, &QAction::triggered, this, &PlaygroundPage::run);
    addAction(answer);
    return card;
}

QDoubleSpinBox* PlaygroundPage::addShare(QHBoxLayout* row, const QString& title,
                                         const QString& help, double high, double value) {
    auto* box = new QDoubleSpinBox(this);
    box->setRange(0, high);
    box->setSingleStep(0.05);
    box->setValue(value);
    box->setToolTip(help);
    box->setFocusPolicy(Qt::StrongFocus);
    box->setAccessibleName(title);
    box->setAccessibleDescription(help);
    auto* label = new QLabel(title, this);
    label->setBuddy(box);
    row->addWidget(label);
    row->addWidget(box);
    return box;
}

QSpinBox* PlaygroundPage::addNumber(QHBoxLayout* row, const QString& title, const QString& help,
                                    int low, int high, int value) {
    auto* box = new QSpinBox(this);
    box->setRange(low, high);
    box->setValue(value);
    box->setToolTip(help);
    box->setFocusPolicy(Qt::StrongFocus);
    box->setAccessibleName(title);
    box->setAccessibleDescription(help);
    auto* label = new QLabel(title, this);
    label->setBuddy(box);
    row->addWidget(label);
    row->addWidget(box);
    return box;
}

QWidget* PlaygroundPage::buildSampling() {
    auto* bar = new QWidget(this);
    auto* row = new QHBoxLayout(bar);
    row->setContentsMargins(0, 0, 0, 0);
    row->setSpacing(6);
    m_tokens = addNumber(row, tr("Tokens"), tr("Most tokens of an answer."), 1, 1 << 16, 96);
    m_temperature = addShare(row, tr("Temperature"),
                             tr("0: always the most likely token; higher: more varied."), 10, 0);
    m_topK =
        addNumber(row, tr("Top k"),
                  tr("Sample from this many of the likeliest tokens; 0: from all."), 0, 1 << 20, 0);
    m_topP = addShare(row, tr("Top p"),
                      tr("Sample from the most likely tokens that make up this share."), 1, 1);
    m_minP =
        addShare(row, tr("Min p"),
                 tr("Sample from tokens at least this share as likely as the likeliest."), 1, 0);
    m_seed = addNumber(row, tr("Seed"), tr("Equal seeds give equal answers."), 0, 1 << 30, 1);
    row->addStretch();
    return bar;
}

QWidget* PlaygroundPage::buildVote() {
    m_voteBar = new QFrame(this);
    setStyleClass(m_voteBar, "card-active");
    auto* row = new QHBoxLayout(m_voteBar);
    row->setContentsMargins(12, 6, 12, 6);
    m_voteText = makeLabel(tr("Which answer is better?"), TextRole::Heading, m_voteBar);
    row->addWidget(m_voteText);
    row->addStretch();
    const std::pair<QString, Vote> votes[] = {{tr("Model &A"), Vote::First},
                                              {tr("Both &alike"), Vote::Tie},
                                              {tr("Model &B"), Vote::Second}};
    for (const auto& [title, value] : votes) {
        auto* button = new QPushButton(title, m_voteBar);
        row->addWidget(button);
        connect(button, &QPushButton::clicked, this, [this, chosen = value] { vote(chosen); });
    }
    m_voteBar->hide();
    return m_voteBar;
}

QWidget* PlaygroundPage::buildLegend() {
    auto* bar = new QWidget(this);
    auto* row = new QHBoxLayout(bar);
    row->setContentsMargins(0, 0, 0, 0);
    row->setSpacing(kGapWide);
    m_note = makeLabel(tr("Models answer one after the other, so that each is timed alone."),
                       TextRole::Caption, bar);
    m_note->setWordWrap(true);
    row->addWidget(m_note, 1);
    auto* legend = new QLabel(bar);
    legend->setAccessibleName(tr("Legend"));
    const auto paint = [legend] {
        const ThemeColors& colors = themeColors();
        legend->setText(
            QStringLiteral("%1 &nbsp; <span style='background-color:%4'><u>%2</u></span> &nbsp; "
                           "<span style='color:%5'><s>%3</s></span>")
                .arg(tr("the model's own"), tr("drafted, accepted"), tr("drafted, rejected"),
                     colors.successSoft.name(), colors.danger.name()));
    };
    paint();
    connect(Theme::instance(), &Theme::changed, legend, paint);
    row->addWidget(legend);
    return bar;
}

void PlaygroundPage::reload() {
    m_sources.clear();
    for (const LibraryItem& item : m_jobs->experiments()->library()) {
        if (item.kind == LibraryItem::Kind::Model && !item.missing) {
            m_sources.push_back({item.name, item.path, 0});
        }
    }
    const ExperimentList records = m_jobs->experiments()->experiments();
    for (auto record = records.rbegin(); record != records.rend(); ++record) {
        if (record->status == ExperimentStatus::Finished && !record->artifactPath.empty()) {
            m_sources.push_back(
                {QStringLiteral("%1 · %2").arg(QString::fromStdString(record->modelName),
                                               QString::fromStdString(record->name)),
                 QString::fromStdString(record->artifactPath), record->id});
        }
    }
    for (AnswerColumn* column : m_columns) {
        column->setSources(m_sources);
    }
    updateButtons();
}

void PlaygroundPage::addColumn(const QString& path) {
    if (m_columns.size() >= kMostColumns) {
        return;
    }
    auto* column = new AnswerColumn(this);
    column->setSources(m_sources);
    column->setSourcePath(path);
    column->tree()->setVisible(m_tree->isChecked());
    m_columns.push_back(column);
    m_columnRow->addWidget(column, 1);
    connect(column, &AnswerColumn::removeRequested, this, [this, column] { removeColumn(column); });
    updateButtons();
}

void PlaygroundPage::removeColumn(AnswerColumn* column) {
    if (m_columns.size() < 2 || isRunning()) {
        return;
    }
    std::erase(m_columns, column);
    column->deleteLater();
    updateButtons();
}

GenerateRequest PlaygroundPage::requestFor(const AnswerColumn& column) const {
    GenerateRequest request;
    request.modelPath = column.source().path.toStdString();
    request.prompt = m_prompt->toPlainText().toStdString();
    request.chat = m_chat->isChecked();
    request.maxNewTokens = m_tokens->value();
    request.temperature = m_temperature->value();
    request.topK = m_topK->value();
    request.topP = m_topP->value();
    request.minP = m_minP->value();
    request.seed = static_cast<std::uint64_t>(m_seed->value());
    request.draft = column.draft().toStdString();
    if (m_tree->isChecked() && !request.draft.empty() && request.draft != "none") {
        request.draftTree = "auto";
    }
    return request;
}

void PlaygroundPage::shuffleBlind() {
    AnswerColumn* first = m_columns[0];
    AnswerColumn* second = m_columns[1];
    if (QRandomGenerator::global()->bounded(2) == 1) {
        const QString path = first->source().path;
        const QString draft = first->draft();
        first->setSourcePath(second->source().path);
        first->setDraft(second->draft());
        second->setSourcePath(path);
        second->setDraft(draft);
    }
    first->setBlindName(tr("Model A"));
    second->setBlindName(tr("Model B"));
}

void PlaygroundPage::run() {
    if (!m_run->isEnabled()) {
        return;
    }
    m_turns.clear();
    m_voting = false;
    m_voteBar->hide();
    m_voteText->setText(tr("Which answer is better?"));
    const bool blind = m_blind->isChecked() && m_columns.size() >= 2;
    for (AnswerColumn* column : m_columns) {
        column->setBlindName({});
    }
    if (blind) {
        shuffleBlind();
    }
    for (AnswerColumn* column : m_columns) {
        column->begin();
        m_turns.push_back({column, false});
        if (m_plainToo->isChecked() && !column->draft().isEmpty() &&
            column->draft() != QLatin1String("none")) {
            m_turns.push_back({column, true});
        }
    }
    m_pause->setChecked(false);
    nextTurn();
}

void PlaygroundPage::nextTurn() {
    m_job = 0;
    if (m_turns.empty()) {
        const bool answered = m_columns.size() >= 2 &&
                              m_columns[0]->state() == AnswerColumn::State::Done &&
                              m_columns[1]->state() == AnswerColumn::State::Done;
        m_voting = m_blind->isChecked() && answered;
        m_voteBar->setVisible(m_voting);
        if (!m_voting) {
            for (AnswerColumn* column : m_columns) {
                column->setBlindName({});
            }
        }
        updateButtons();
        return;
    }
    m_turn = m_turns.front();
    m_turns.pop_front();
    GenerateRequest request = requestFor(*m_turn.column);
    if (m_turn.plain) {
        request.draft = "none";
        request.draftTree.clear();
    } else {
        m_turn.column->setState(AnswerColumn::State::Running);
    }
    const bool blind = m_blind->isChecked();
    m_job = m_jobs->queue(
        request,
        blind ? tr("Answer of a blind vote")
              : tr("Answer of %1").arg(m_turn.column->source().title),
        this, [](const JobResult&) {}, [](const ErrorInfo&) {});
    if (m_job == 0) {
        m_turn.column->setState(AnswerColumn::State::Failed);
        m_turns.clear();
        nextTurn();
    }
    updateButtons();
}

void PlaygroundPage::follow(const JobEvent& event) {
    if (m_job == 0 || event.job != m_job) {
        return;
    }
    if (const auto* text = std::get_if<JobText>(&event.body)) {
        if (!m_turn.plain) {
            m_turn.column->append(*text);
            updateButtons();
        }
    } else if (const auto* finished = std::get_if<JobFinished>(&event.body)) {
        if (const auto* report = std::get_if<GenerateReport>(&finished->result)) {
            m_turn.plain ? m_turn.column->setPlainReport(*report) : m_turn.column->finish(*report);
        }
        nextTurn();
    } else if (const auto* failed = std::get_if<JobFailed>(&event.body)) {
        const QString message = QString::fromStdString(failed->error.message);
        m_turn.column->setState(AnswerColumn::State::Failed, message);
        emit errorOccurred(tr("Playground"), message);
        nextTurn();
    } else if (std::holds_alternative<JobCancelled>(event.body)) {
        m_turn.column->setState(AnswerColumn::State::Cancelled);
        m_turns.clear();
        for (AnswerColumn* column : m_columns) {
            if (column->state() == AnswerColumn::State::Waiting) {
                column->setState(AnswerColumn::State::Cancelled);
            }
        }
        nextTurn();
    }
}

void PlaygroundPage::stop() {
    if (m_job != 0) {
        m_jobs->engine()->cancel(m_job);
    }
}

void PlaygroundPage::setPaused(bool paused) {
    for (AnswerColumn* column : m_columns) {
        column->view()->hold(paused);
    }
    updateButtons();
}

void PlaygroundPage::showTrees(bool shown) {
    for (AnswerColumn* column : m_columns) {
        column->tree()->setVisible(shown);
    }
}

void PlaygroundPage::step() {
    for (AnswerColumn* column : m_columns) {
        if (column->view()->step()) {
            break;
        }
    }
    updateButtons();
}

qint64 PlaygroundPage::experimentOf(const AnswerSource& source) const {
    if (source.experiment > 0) {
        return source.experiment;
    }
    for (const ExperimentRecord& record : m_jobs->experiments()->experiments()) {
        if (record.isBaseline() && record.status == ExperimentStatus::Finished &&
            record.modelPath == source.path.toStdString()) {
            return record.id;
        }
    }
    return 0;
}

void PlaygroundPage::countVote(const AnswerSource& source, double won) {
    const std::optional<ExperimentRecord> record =
        m_jobs->experiments()->experiment(experimentOf(source));
    if (!record) {
        return;
    }
    const double before = metricOf(*record, "preference_votes");
    const double votes = before + 1;
    const double share = (metricOf(*record, "preference") / 100 * before + won) / votes;
    const auto [low, high] = wilson(share, votes);
    const std::string protocol = "blind votes in the playground";
    m_jobs->experiments()->storeMetric(
        record->id, {"preference", 100 * share, "%", low, high, true, false, protocol});
    m_jobs->experiments()->storeMetric(
        record->id, {"preference_votes", votes, "", {}, {}, true, false, protocol});
}

void PlaygroundPage::vote(Vote vote) {
    if (!m_voting) {
        return;
    }
    m_voting = false;
    const AnswerSource first = m_columns[0]->source();
    const AnswerSource second = m_columns[1]->source();
    const double won = vote == Vote::First ? 1 : vote == Vote::Tie ? 0.5 : 0;
    for (AnswerColumn* column : m_columns) {
        column->setBlindName({});
    }
    const bool stored = experimentOf(first) > 0 || experimentOf(second) > 0;
    // Storing reloads the lists; the sources were read before.
    countVote(first, won);
    countVote(second, 1 - won);
    m_voteBar->hide();
    m_note->setText((vote == Vote::Tie     ? tr("You found both alike: %1 and %2.")
                     : vote == Vote::First ? tr("You chose %1 over %2.")
                                           : tr("You chose %2 over %1."))
                        .arg(first.title, second.title) +
                    QLatin1Char(' ') +
                    (stored ? tr("The vote is stored with the experiments.")
                            : tr("Neither is an experiment: the vote is not stored.")));
    updateButtons();
}

void PlaygroundPage::updateButtons() {
    if (!m_run) {
        return;
    }
    const bool running = isRunning();
    const bool ready = !running && !m_prompt->toPlainText().trimmed().isEmpty() &&
                       !m_sources.empty() && !m_columns.empty();
    m_run->setEnabled(ready);
    m_stop->setEnabled(running);
    const bool waiting = std::any_of(m_columns.begin(), m_columns.end(), [](AnswerColumn* column) {
        return column->view()->hasWaiting();
    });
    m_pause->setEnabled(running || m_pause->isChecked());
    m_step->setEnabled(m_pause->isChecked() && waiting);
    m_add->setEnabled(m_columns.size() < kMostColumns && !running);
    for (AnswerColumn* column : m_columns) {
        column->setRemovable(m_columns.size() > 1 && !running);
    }
}

QString PlaygroundPage::noteText() const {
    return m_note->text();
}

}  // namespace fettle::ui
