#include "ui/pages/compare_tokens.h"

#include <QComboBox>
#include <QHeaderView>
#include <QLabel>
#include <QPlainTextEdit>
#include <QSortFilterProxyModel>
#include <QSplitter>
#include <QTableView>
#include <QVBoxLayout>
#include <algorithm>
#include <cmath>

#include "ui/charts/axis_scale.h"
#include "ui/charts/token_strip.h"
#include "ui/models/worst_tokens_model.h"
#include "ui/pages/compare_own_text.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {

CompareTokens::CompareTokens(JobController* jobs, QWidget* parent)
    : QWidget(parent),
      m_source(new QComboBox(this)),
      m_own(new CompareOwnText(jobs, this)),
      m_experiment(new QComboBox(this)),
      m_value(new QComboBox(this)),
      m_note(makeLabel({}, TextRole::Caption, this)),
      m_strip(new TokenStrip(this)),
      m_worst(new WorstTokensModel(this)),
      m_sorted(new QSortFilterProxyModel(this)),
      m_table(new QTableView(this)) {
    auto* outer = new QVBoxLayout(this);
    outer->setContentsMargins(0, kGap, 0, 0);
    auto* bar = new QHBoxLayout;
    const auto add = [&](QComboBox* choice, const QString& text, const QString& name) {
        auto* label = makeLabel(text, TextRole::Body, this);
        label->setBuddy(choice);
        choice->setAccessibleName(name);
        bar->addWidget(label);
        bar->addWidget(choice);
    };
    m_experiment->setSizeAdjustPolicy(QComboBox::AdjustToMinimumContentsLengthWithIcon);
    m_experiment->setMinimumContentsLength(22);
    m_value->setSizeAdjustPolicy(QComboBox::AdjustToContents);
    add(m_experiment, tr("&Experiment"), tr("Experiment whose tokens are shown"));
    add(m_value, tr("&Tint"), tr("Value that tints the tokens"));
    m_source->addItems({tr("Evaluation text"), tr("A text of my own")});
    add(m_source, tr("Te&xt"), tr("Text whose tokens are shown"));
    bar->addStretch();
    outer->addLayout(bar);
    outer->addWidget(m_own);
    m_own->hide();
    m_note->setWordWrap(true);
    outer->addWidget(m_note);

    m_sorted->setSourceModel(m_worst);
    m_sorted->setSortRole(WorstTokensModel::kSortRole);
    m_table->setModel(m_sorted);
    m_table->setSortingEnabled(true);
    m_table->sortByColumn(WorstTokensModel::Divergence, Qt::DescendingOrder);
    m_table->setSelectionBehavior(QAbstractItemView::SelectRows);
    m_table->setSelectionMode(QAbstractItemView::SingleSelection);
    m_table->setShowGrid(false);
    m_table->setWordWrap(false);
    m_table->setTabKeyNavigation(false);
    m_table->setTextElideMode(Qt::ElideLeft);
    m_table->verticalHeader()->hide();
    m_table->verticalHeader()->setDefaultSectionSize(fontMetrics().height() + 10);
    m_table->horizontalHeader()->setHighlightSections(false);
    m_table->horizontalHeader()->setSectionResizeMode(QHeaderView::ResizeToContents);
    m_table->horizontalHeader()->setSectionResizeMode(WorstTokensModel::Context,
                                                      QHeaderView::Stretch);
    m_table->setAccessibleName(tr("Tokens that diverged most"));
    auto* split = new QSplitter(Qt::Vertical, this);
    split->setChildrenCollapsible(false);
    split->setHandleWidth(9);
    split->addWidget(m_strip);
    split->addWidget(m_table);
    split->setStretchFactor(0, 3);
    split->setStretchFactor(1, 2);
    split->setSizes({300, 200});
    outer->addWidget(split, 1);
    connect(m_experiment, &QComboBox::currentIndexChanged, this, &CompareTokens::showExperiment);
    connect(m_source, &QComboBox::currentIndexChanged, this, &CompareTokens::showSource);
    connect(m_own->text(), &QPlainTextEdit::textChanged, this, [this] {
        // Values of another text would be misleading beside this one.
        m_ownTraces.assign(m_experiments.size(), std::nullopt);
        showExperiment();
    });
    connect(m_own, &CompareOwnText::traceReady, this, [this](const EvaluationTrace& trace) {
        m_ownTraces[static_cast<std::size_t>(m_experiment->currentIndex())] = trace;
        showExperiment();
    });
    connect(m_value, &QComboBox::currentIndexChanged, this, &CompareTokens::showValues);
    connect(m_table->selectionModel(), &QItemSelectionModel::currentRowChanged, this,
            [this](const QModelIndex& index) { showWorst(m_sorted->mapToSource(index).row()); });
}

void CompareTokens::setExperiments(const ComparedExperiments& experiments) {
    m_experiments = experiments;
    m_ownTraces.assign(experiments.size(), std::nullopt);
    const QSignalBlocker block(m_experiment);
    m_experiment->clear();
    int first = -1;
    for (std::size_t i = 0; i < experiments.size(); ++i) {
        m_experiment->addItem(QStringLiteral("%1 · %2").arg(letterOf(i), experiments[i].name()));
        if (first < 0 && experiments[i].trace && experiments[i].trace->hasBaseline) {
            first = static_cast<int>(i);
        }
    }
    m_experiment->setCurrentIndex(std::max(first, experiments.empty() ? -1 : 0));
    showExperiment();
}

bool CompareTokens::ownChosen() const {
    return m_source->currentIndex() == 1;
}

const std::optional<EvaluationTrace>& CompareTokens::trace() const {
    static const std::optional<EvaluationTrace> none;
    const int at = m_experiment->currentIndex();
    if (at < 0) {
        return none;
    }
    const auto index = static_cast<std::size_t>(at);
    return ownChosen() ? m_ownTraces[index] : m_experiments[index].trace;
}

void CompareTokens::showSource() {
    m_own->setVisible(ownChosen());
    showExperiment();
    if (ownChosen()) {
        m_own->text()->setFocus();
    }
}

// The model of the chosen experiment is held against that of A; against the original where A itself
// is chosen.
void CompareTokens::chooseModels() {
    const int at = m_experiment->currentIndex();
    if (at < 0) {
        return m_own->setModels({}, {}, 0, {});
    }
    const auto pathOf = [](const ExperimentRecord& record) {
        return record.isBaseline() ? record.modelPath : record.artifactPath;
    };
    const ComparedExperiment& chosen = m_experiments[static_cast<std::size_t>(at)];
    const std::string model = pathOf(chosen.record());
    const std::string reference =
        at == 0 ? chosen.record().modelPath : pathOf(m_experiments.front().record());
    QString problem;
    if (model.empty() || reference.empty()) {
        problem = tr("“%1” kept no model: run it again and keep the result.")
                      .arg(model.empty() ? chosen.name() : m_experiments.front().name());
    } else if (model == reference) {
        problem = tr("This is the model that the others are held against. Choose another one.");
    }
    m_own->setModels(model, reference, chosen.detail.measure.context, problem);
}

void CompareTokens::showExperiment() {
    chooseModels();
    const int at = m_experiment->currentIndex();
    const auto& trace = this->trace();
    const int before = m_value->count() > 0 ? m_value->currentData().toInt() : -1;
    const QSignalBlocker block(m_value);
    m_value->clear();
    if (trace && trace->hasBaseline) {
        m_value->addItem(ownChosen() && at > 0 ? tr("KL divergence from A")
                                               : tr("KL divergence from the original"),
                         Divergence);
    }
    const bool paired = !ownChosen() && at > 0 && trace && m_experiments.front().trace &&
                        m_experiments.front().trace->protocol == trace->protocol &&
                        m_experiments.front().trace->tokens.size() == trace->tokens.size();
    if (paired) {
        m_value->addItem(tr("Extra loss against A"), LossAgainstFirst);
    }
    if (trace && !trace->tokens.empty()) {
        m_value->addItem(tr("Loss of the token"), Loss);
    }
    const int kept = m_value->findData(before);
    m_value->setCurrentIndex(kept >= 0 ? kept : m_value->count() > 0 ? 0 : -1);
    m_value->setEnabled(m_value->count() > 0);
    m_worst->setReference(ownChosen() && at > 0 ? QStringLiteral("A") : QString());
    m_worst->setTokens(trace ? trace->worst : std::vector<WorstToken>{});
    m_table->setVisible(trace && trace->hasBaseline);
    showValues();
}

double CompareTokens::valueOf(const EvaluationTrace& trace, std::size_t token) const {
    const TraceToken& one = trace.tokens[token];
    switch (m_value->currentData().toInt()) {
        case LossAgainstFirst:
            return one.nll - m_experiments.front().trace->tokens[token].nll;
        case Loss:
            return one.nll;
        default:
            return one.kl;
    }
}

void CompareTokens::showValues() {
    std::vector<StripToken> tokens;
    if (const auto& shown = trace()) {
        const EvaluationTrace& trace = *shown;
        tokens.reserve(trace.tokens.size());
        for (std::size_t i = 0; i < trace.tokens.size(); ++i) {
            tokens.push_back({QString::fromStdString(trace.tokens[i].text), valueOf(trace, i),
                              trace.tokens[i].scored});
        }
        const auto counted = std::count_if(trace.tokens.begin(), trace.tokens.end(),
                                           [](const TraceToken& token) { return token.scored; });
        std::int64_t scored = 0;
        for (const TraceBlock& block : trace.blocks) {
            scored += block.tokens;
        }
        m_note->setText(
            (ownChosen() ? tr("%1 of %2 scored tokens of your text, both models in the same "
                              "windows. The deeper the tint, the more the prediction moved; hover "
                              "or use the arrow keys for the probabilities.")
                         : tr("The first %1 of %2 scored tokens of the evaluation text. The deeper "
                              "the tint, the more the prediction moved; hover or use the arrow "
                              "keys for the probabilities."))
                .arg(counted)
                .arg(scored));
    } else {
        m_note->clear();
    }
    m_strip->setEmptyText(
        ownChosen()
            ? tr("Put a text above and score it: each of its tokens is then tinted by how far the "
                 "prediction moved.")
            : tr("This experiment has no values per token: it was run without an evaluation text, "
                 "or by "
                 "an older version. Run it again to see where its predictions moved, or score a "
                 "text of your own."));
    m_strip->setTokens(std::move(tokens), [this](int token) { return describe(token); });
}

QString CompareTokens::describe(int token) const {
    const auto& trace = this->trace();
    const std::size_t at = static_cast<std::size_t>(token);
    const TraceToken& one = trace->tokens[at];
    QString html = QStringLiteral("<b>%1</b>").arg(visibleToken(one.text).toHtmlEscaped());
    if (!one.scored) {
        return html + QStringLiteral("<br>") + tr("Start of a window: context only, not scored");
    }
    const auto row = [&](const QString& name, const QString& value) {
        html += QStringLiteral("<br>%1: <b>%2</b>").arg(name, value);
    };
    row(tr("Probability"), probabilityText(std::exp(-one.nll)));
    if (trace->hasBaseline) {
        row(ownChosen() && m_experiment->currentIndex() > 0 ? tr("In A") : tr("In the original"),
            probabilityText(std::exp(-one.baselineNll)));
        row(tr("KL divergence"), tr("%1 nats").arg(shortNumber(one.kl, 3)));
    }
    if (m_value->findData(LossAgainstFirst) >= 0) {
        row(tr("In A"), probabilityText(std::exp(-m_experiments.front().trace->tokens[at].nll)));
    }
    const auto worst =
        std::find_if(trace->worst.begin(), trace->worst.end(), [&](const WorstToken& w) {
            return w.text == one.text && std::abs(w.kl - one.kl) <= 1e-3 * std::abs(one.kl) &&
                   std::abs(w.probability - std::exp(-one.nll)) < 1e-3;
        });
    if (worst != trace->worst.end()) {
        row(ownChosen() && m_experiment->currentIndex() > 0 ? tr("A expects")
                                                            : tr("The original expects"),
            visibleToken(worst->baselineTop).toHtmlEscaped() + QLatin1Char(' ') +
                probabilityText(worst->baselineTopProbability));
        row(tr("This model expects"), visibleToken(worst->top).toHtmlEscaped() + QLatin1Char(' ') +
                                          probabilityText(worst->topProbability));
    }
    return html;
}

void CompareTokens::showWorst(int row) {
    if (row < 0 || !trace()) {
        return;
    }
    // The strip counts all tokens, the list the scored ones.
    const EvaluationTrace& trace = *this->trace();
    std::int64_t scored = 0;
    for (std::size_t i = 0; i < trace.tokens.size(); ++i) {
        scored += trace.tokens[i].scored ? 1 : 0;
        if (trace.tokens[i].scored && scored == m_worst->token(row).position + 1) {
            m_strip->setCurrent(static_cast<int>(i));
            return;
        }
    }
}

}  // namespace fettle::ui
