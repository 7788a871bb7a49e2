#include "ui/pages/compare_tokens.h"

#include <QComboBox>
#include <QHeaderView>
#include <QLabel>
#include <QSortFilterProxyModel>
#include <QSplitter>
#include <QTableView>
#include <QVBoxLayout>
#include <algorithm>
#include <cmath>

#include "ui/charts/axis_scale.h"
#include "ui/charts/token_strip.h"
#include "ui/models/worst_tokens_model.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {

CompareTokens::CompareTokens(QWidget* parent)
    : QWidget(parent),
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
    bar->addStretch();
    outer->addLayout(bar);
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
    connect(m_value, &QComboBox::currentIndexChanged, this, &CompareTokens::showValues);
    connect(m_table->selectionModel(), &QItemSelectionModel::currentRowChanged, this,
            [this](const QModelIndex& index) { showWorst(m_sorted->mapToSource(index).row()); });
}

void CompareTokens::setExperiments(const ComparedExperiments& experiments) {
    m_experiments = experiments;
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

void CompareTokens::showExperiment() {
    const int at = m_experiment->currentIndex();
    const auto& trace = at >= 0 ? m_experiments[static_cast<std::size_t>(at)].trace : std::nullopt;
    const int before = m_value->count() > 0 ? m_value->currentData().toInt() : -1;
    const QSignalBlocker block(m_value);
    m_value->clear();
    if (trace && trace->hasBaseline) {
        m_value->addItem(tr("KL divergence from the original"), Divergence);
    }
    const bool paired = at > 0 && trace && m_experiments.front().trace &&
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
    const int at = m_experiment->currentIndex();
    std::vector<StripToken> tokens;
    if (at >= 0 && m_experiments[static_cast<std::size_t>(at)].trace) {
        const EvaluationTrace& trace = *m_experiments[static_cast<std::size_t>(at)].trace;
        tokens.reserve(trace.tokens.size());
        for (std::size_t i = 0; i < trace.tokens.size(); ++i) {
            tokens.push_back({QString::fromStdString(trace.tokens[i].text), valueOf(trace, i),
                              trace.tokens[i].scored});
        }
        const auto shown = std::count_if(trace.tokens.begin(), trace.tokens.end(),
                                         [](const TraceToken& token) { return token.scored; });
        std::int64_t scored = 0;
        for (const TraceBlock& block : trace.blocks) {
            scored += block.tokens;
        }
        m_note->setText(
            tr("The first %1 of %2 scored tokens of the evaluation text. The deeper the tint, the "
               "more the prediction moved; hover or use the arrow keys for the probabilities.")
                .arg(shown)
                .arg(scored));
    } else {
        m_note->clear();
    }
    m_strip->setEmptyText(
        tr("This experiment has no values per token: it was run without an evaluation text, or by "
           "an older version. Run it again to see where its predictions moved."));
    m_strip->setTokens(std::move(tokens), [this](int token) { return describe(token); });
}

QString CompareTokens::describe(int token) const {
    const auto& trace = m_experiments[static_cast<std::size_t>(m_experiment->currentIndex())].trace;
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
        row(tr("In the original"), probabilityText(std::exp(-one.baselineNll)));
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
        row(tr("The original expects"), visibleToken(worst->baselineTop).toHtmlEscaped() +
                                            QLatin1Char(' ') +
                                            probabilityText(worst->baselineTopProbability));
        row(tr("This model expects"), visibleToken(worst->top).toHtmlEscaped() + QLatin1Char(' ') +
                                          probabilityText(worst->topProbability));
    }
    return html;
}

void CompareTokens::showWorst(int row) {
    const int at = m_experiment->currentIndex();
    if (row < 0 || at < 0) {
        return;
    }
    // The strip counts all tokens, the list the scored ones.
    const EvaluationTrace& trace = *m_experiments[static_cast<std::size_t>(at)].trace;
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
