#include "ui/widgets/estimate_panel.h"

#include <QGridLayout>
#include <QLabel>
#include <QVBoxLayout>
#include <algorithm>
#include <cmath>
#include <optional>

#include "ui/widgets/theme.h"

namespace fettle::ui {
namespace {

std::optional<double> metricOf(const RunResult& result, const char* name) {
    for (const Measurement& metric : result.metrics) {
        if (metric.name == name) {
            return metric.value;
        }
    }
    return std::nullopt;
}

/// "+12 %", "as estimated", "3.1 times the estimate": by how much the measurement missed the
/// promise.
QString deviation(double promised, double measured) {
    const double ratio = measured / promised;
    if (ratio > 3) {
        return EstimatePanel::tr("%1 times the estimate").arg(ratio, 0, 'g', 2);
    }
    const double percent = (ratio - 1) * 100;
    if (std::abs(percent) < 0.5) {
        return EstimatePanel::tr("as estimated");
    }
    return QStringLiteral("%1%2\u00a0%")
        .arg(percent > 0 ? QStringLiteral("+") : QStringLiteral("−"))
        .arg(std::abs(percent), 0, 'f', 0);
}

QString bytesText(double bytes) {
    return QString::fromStdString(formatBytes(bytes));
}
QString timeText(double seconds) {
    return QString::fromStdString(formatDuration(seconds));
}

}  // namespace

EstimatePanel::EstimatePanel(QWidget* parent)
    : QFrame(parent),
      m_problems(makeLabel({}, TextRole::Body, this)),
      m_notes(makeLabel({}, TextRole::Caption, this)),
      m_outcome(makeLabel({}, TextRole::Caption, this)) {
    setStyleClass(this, "card");
    auto* column = new QVBoxLayout(this);
    column->setContentsMargins(14, 12, 14, 12);
    column->setSpacing(6);
    auto* grid = new QGridLayout;
    grid->setHorizontalSpacing(kGap);
    grid->setVerticalSpacing(5);
    grid->setColumnStretch(0, 1);
    grid->addWidget(makeLabel(tr("Before you run"), TextRole::Heading, this), 0, 0);
    grid->addWidget(makeLabel(tr("estimate"), TextRole::Caption, this), 0, 1,
                    Qt::AlignRight | Qt::AlignBottom);
    const QString titles[LineCount] = {tr("Peak memory"), tr("Size of the result"),
                                       tr("Bits per weight"), tr("Time")};
    for (int line = 0; line < LineCount; ++line) {
        grid->addWidget(makeLabel(titles[line], TextRole::Body, this), line + 1, 0);
        m_promise[line] = makeLabel(QStringLiteral("–"), TextRole::Body, this);
        m_promise[line]->setAccessibleName(tr("Estimate: %1").arg(titles[line]));
        grid->addWidget(m_promise[line], line + 1, 1, Qt::AlignRight);
    }
    column->addLayout(grid);
    for (QLabel* label : {m_problems, m_notes, m_outcome}) {
        label->setWordWrap(true);
        label->hide();
        column->addWidget(label);
    }
    setStyleClass(m_problems, "danger");
}

static void setText(QLabel* label, const QString& text) {
    label->setText(text);
    label->setVisible(!text.isEmpty());
}

void EstimatePanel::setEstimate(const RecipeEstimate& estimate) {
    m_promise[Memory]->setText(bytesText(static_cast<double>(estimate.peakBytes)));
    m_promise[Size]->setText(bytesText(static_cast<double>(estimate.outputBytes)));
    m_promise[Bits]->setText(QString::number(estimate.bitsPerWeight, 'f', 2));
    m_promise[Time]->setText(timeText(estimate.seconds));
    for (QLabel* label : m_promise) {
        label->setEnabled(true);
    }
    QStringList problems;
    for (const std::string& problem : estimate.problems) {
        problems << QString::fromStdString(problem);
    }
    setProblems(problems);
    QStringList notes;
    for (const std::string& note : estimate.notes) {
        notes << QString::fromStdString(note);
    }
    setText(m_notes, notes.join(QLatin1Char('\n')));
}

void EstimatePanel::setPending() {
    for (QLabel* label : m_promise) {
        label->setEnabled(false);
    }
}

void EstimatePanel::setUnavailable(const QString& why) {
    for (QLabel* label : m_promise) {
        label->setText(QStringLiteral("–"));
        label->setEnabled(true);
    }
    setText(m_notes, why);
}

void EstimatePanel::setProblems(const QStringList& problems) {
    setText(m_problems, problems.join(QLatin1Char('\n')));
}

QString EstimatePanel::problemsText() const {
    return m_problems->text();
}
QString EstimatePanel::outcomeText() const {
    return m_outcome->text();
}

void EstimatePanel::setOutcome(const QString& runName, const RunResult& result) {
    if (!result.estimate) {
        return;
    }
    const RecipeEstimate& promised = *result.estimate;
    QStringList facts;
    const auto add = [&](const char* metric, double promise, const QString& title,
                         const auto& format) {
        const std::optional<double> measured = metricOf(result, metric);
        if (measured && promise > 0) {
            facts << tr("%1 %2 (%3)").arg(title, format(*measured), deviation(promise, *measured));
        }
    };
    const auto bits = [](double value) { return QString::number(value, 'f', 2); };
    add("peak_bytes", static_cast<double>(promised.peakBytes), tr("memory"), bytesText);
    add("file_bytes", static_cast<double>(promised.outputBytes), tr("size"), bytesText);
    add("bits_per_weight", promised.bitsPerWeight, tr("bits"), bits);
    add("wall_seconds", promised.seconds, tr("time"), timeText);
    setText(
        m_outcome,
        facts.isEmpty()
            ? QString()
            : tr("Last run, \"%1\", measured: %2.").arg(runName, facts.join(QStringLiteral(", "))));
}

}  // namespace fettle::ui
