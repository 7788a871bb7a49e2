#include "ui/widgets/answer_column.h"

#include <QComboBox>
#include <QHBoxLayout>
#include <QLabel>
#include <QSignalBlocker>
#include <QStackedWidget>
#include <QToolButton>
#include <QVBoxLayout>
#include <algorithm>

#include "ui/widgets/draft_tree_view.h"
#include "ui/widgets/icons.h"
#include "ui/widgets/theme.h"
#include "ui/widgets/token_view.h"

namespace fettle::ui {
namespace {

QString speed(const GenerateReport& report) {
    return QString::fromStdString(
        formatMetric("decode_tokens_per_s", report.decodeTokensPerSecond));
}

}  // namespace

AnswerColumn::AnswerColumn(QWidget* parent)
    : QFrame(parent),
      m_source(new QComboBox(this)),
      m_draft(new QComboBox(this)),
      m_remove(new QToolButton(this)),
      m_blindName(makeLabel({}, TextRole::Heading, this)),
      m_head(new QStackedWidget(this)),
      m_view(new TokenView(this)),
      m_tree(new DraftTreeView(this)),
      m_stateLabel(makeLabel(tr("Ready"), TextRole::Caption, this)),
      m_statistics(makeLabel({}, TextRole::Caption, this)) {
    setStyleClass(this, "card");
    setMinimumWidth(180);
    m_source->setAccessibleName(tr("Model"));
    m_draft->setAccessibleName(tr("Draft"));
    m_draft->setToolTip(
        tr("Who guesses the next tokens. The text stays the model's own; only the speed changes."));
    const std::pair<QString, QString> drafts[] = {
        {tr("the model's own draft"), QString()},
        {tr("no draft"), QStringLiteral("none")},
        {tr("n-gram"), QStringLiteral("ngram")},
        {tr("suffix"), QStringLiteral("suffix")},
        {tr("itself, 4 bits"), QStringLiteral("self:int4-g32")},
        {tr("itself, one layer less"), QStringLiteral("self:1")}};
    for (const auto& [title, value] : drafts) {
        m_draft->addItem(title, value);
    }
    for (QComboBox* box : {m_source, m_draft}) {
        box->setSizeAdjustPolicy(QComboBox::AdjustToMinimumContentsLengthWithIcon);
        box->setMinimumContentsLength(6);
        connect(box, &QComboBox::currentIndexChanged, this, &AnswerColumn::changed);
    }
    m_remove->setIcon(themedIcon(QStringLiteral("close")));
    m_remove->setToolTip(tr("Take this model away"));
    m_remove->setAccessibleName(m_remove->toolTip());
    connect(m_remove, &QToolButton::clicked, this, &AnswerColumn::removeRequested);

    auto* named = new QWidget(m_head);
    auto* row = new QHBoxLayout(named);
    row->setContentsMargins(0, 0, 0, 0);
    row->setSpacing(4);
    row->addWidget(m_source, 3);
    row->addWidget(m_draft, 2);
    row->addWidget(m_remove);
    m_head->addWidget(named);
    m_head->addWidget(m_blindName);
    m_head->setSizePolicy(QSizePolicy::Preferred, QSizePolicy::Maximum);
    m_view->setAccessibleName(tr("Answer"));
    m_view->setPlaceholderText(tr("The answer comes here."));
    m_statistics->setWordWrap(true);
    m_statistics->setTextInteractionFlags(Qt::TextSelectableByMouse);
    m_statistics->setAccessibleName(tr("What the answer took"));
    m_stateLabel->setWordWrap(true);
    auto* column = new QVBoxLayout(this);
    column->setContentsMargins(10, 10, 10, 10);
    column->setSpacing(6);
    column->addWidget(m_head);
    column->addWidget(m_stateLabel);
    column->addWidget(m_view, 1);
    column->addWidget(m_tree);
    m_tree->hide();
    connect(m_view, &TokenView::roundShown, m_tree, &DraftTreeView::setRound);
    column->addWidget(m_statistics);
}

void AnswerColumn::setSources(const std::vector<AnswerSource>& sources) {
    const QString before = source().path;
    m_sources = sources;
    const QSignalBlocker block(m_source);
    m_source->clear();
    for (const AnswerSource& item : sources) {
        m_source->addItem(
            themedIcon(item.experiment > 0 ? QStringLiteral("recipe") : QStringLiteral("model")),
            item.title);
    }
    setSourcePath(before);
}

AnswerSource AnswerColumn::source() const {
    const int index = m_source->currentIndex();
    return index >= 0 && index < static_cast<int>(m_sources.size())
               ? m_sources[static_cast<std::size_t>(index)]
               : AnswerSource{};
}

void AnswerColumn::setSourcePath(const QString& path) {
    const auto found = std::find_if(m_sources.begin(), m_sources.end(),
                                    [&](const AnswerSource& s) { return s.path == path; });
    if (found != m_sources.end()) {
        m_source->setCurrentIndex(static_cast<int>(found - m_sources.begin()));
    }
}

QString AnswerColumn::draft() const {
    return m_draft->currentData().toString();
}

void AnswerColumn::setDraft(const QString& draft) {
    m_draft->setCurrentIndex(std::max(0, m_draft->findData(draft)));
}

void AnswerColumn::setRemovable(bool removable) {
    m_remove->setVisible(removable);
}

void AnswerColumn::setBlindName(const QString& name) {
    m_blind = !name.isEmpty();
    m_blindName->setText(name);
    m_head->setCurrentIndex(m_blind ? 1 : 0);
    m_view->showOrigins(!m_blind);
    showStatistics();
}

void AnswerColumn::setState(State state, const QString& text) {
    m_state = state;
    const QString texts[] = {tr("Ready"),    tr("Waits for its turn"),
                             tr("Answers…"), tr("Done"),
                             tr("Failed"),   tr("Stopped")};
    m_stateLabel->setText(text.isEmpty() ? texts[static_cast<int>(state)] : text);
    setStyleClass(m_stateLabel, state == State::Failed ? "danger" : "caption");
}

void AnswerColumn::begin() {
    m_report.reset();
    m_plain.reset();
    m_view->clearTokens();
    m_tree->setRound({});
    setState(State::Waiting);
    showStatistics();
}

void AnswerColumn::append(const JobText& text) {
    m_view->append(text.tokens);
}

void AnswerColumn::finish(const GenerateReport& report) {
    m_report = report;
    setState(State::Done,
             report.chatFormat.empty()
                 ? tr("Done · prompt as it is")
                 : tr("Done · %1 template").arg(QString::fromStdString(report.chatFormat)));
    showStatistics();
}

void AnswerColumn::setPlainReport(const GenerateReport& report) {
    m_plain = report;
    showStatistics();
}

void AnswerColumn::showStatistics() {
    if (!m_report || m_blind) {
        m_statistics->setText(m_blind && m_report ? tr("Shown after the vote") : QString());
        return;
    }
    QStringList lines;
    lines << tr("%1 · first token after %2")
                 .arg(speed(*m_report),
                      QString::fromStdString(formatMetric("ttft_ms", m_report->ttftMs)));
    if (m_plain) {
        const double gain = m_plain->decodeTokensPerSecond > 0
                                ? m_report->decodeTokensPerSecond / m_plain->decodeTokensPerSecond
                                : 0;
        lines << tr("without draft %1: %2%3")
                     .arg(speed(*m_plain), QString::fromStdString(formatMetric("speedup", gain)),
                          m_plain->ids == m_report->ids ? tr(", same text") : tr(", another text"));
    }
    lines << tr("%1 weights + %2 cache · %3")
                 .arg(
                     QString::fromStdString(
                         formatBytes(static_cast<double>(m_report->weightBytes))),
                     QString::fromStdString(formatBytes(static_cast<double>(m_report->cacheBytes))),
                     QString::fromStdString(
                         formatMetric("tokens", static_cast<double>(m_report->ids.size()))));
    if (m_report->speculation) {
        const SpeculationReport& speculation = *m_report->speculation;
        lines << tr("%1: %2 accepted, %3 per pass")
                     .arg(QString::fromStdString(speculation.draft),
                          QString::fromStdString(
                              formatMetric("acceptance_rate", speculation.acceptanceRate)),
                          QString::fromStdString(formatMetric("mean_accepted_length",
                                                              speculation.meanAcceptedLength)));
    }
    m_statistics->setText(lines.join(QLatin1Char('\n')));
}

QString AnswerColumn::statistics() const {
    return m_statistics->text();
}

}  // namespace fettle::ui
