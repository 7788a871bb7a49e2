#include "ui/widgets/training_panel.h"

#include <QGridLayout>
#include <QLabel>
#include <QScrollArea>
#include <QVBoxLayout>
#include <algorithm>
#include <cmath>

#include "ui/charts/axis_scale.h"
#include "ui/charts/series_chart.h"
#include "ui/widgets/theme.h"

namespace fettle::ui {
namespace {

constexpr int kChartWidth = 300;  ///< below this another column would be too narrow to read
/// Levels that training techniques repeat beside each validation: the original model's, and the
/// quantized or pruned model's that training started from.
constexpr const char* kOriginal = "validation_perplexity_original";
constexpr const char* kLevelPrefix = "validation_perplexity_";

bool isLevel(const std::string& name) {
    return name.rfind(kLevelPrefix, 0) == 0;
}

std::optional<double> firstOf(const std::vector<SeriesPoint>& points, const char* name) {
    const auto found = std::find_if(points.begin(), points.end(), [&](const SeriesPoint& p) {
        return p.name == name && std::isfinite(p.value);
    });
    return found == points.end() ? std::nullopt : std::optional(found->value);
}

std::optional<double> lastOf(const std::vector<SeriesPoint>& points, const char* name) {
    const auto found = std::find_if(points.rbegin(), points.rend(), [&](const SeriesPoint& p) {
        return p.name == name && std::isfinite(p.value);
    });
    return found == points.rend() ? std::nullopt : std::optional(found->value);
}

/// The perplexity before training: told by the technique, else the first that was measured.
std::optional<double> startOf(const std::vector<SeriesPoint>& points) {
    const auto told = std::find_if(points.rbegin(), points.rend(), [](const SeriesPoint& p) {
        return isLevel(p.name) && p.name != kOriginal && std::isfinite(p.value);
    });
    return told == points.rend() ? firstOf(points, "validation_perplexity")
                                 : std::optional(told->value);
}

}  // namespace

std::optional<double> recoveredShare(const std::vector<SeriesPoint>& points) {
    if (const auto told = lastOf(points, "recovery")) {
        return *told / 100;
    }
    const auto start = startOf(points);
    const auto now = lastOf(points, "validation_perplexity");
    const auto full = lastOf(points, kOriginal);
    if (!start || !now || !full || !(*start > *full)) {
        return std::nullopt;
    }
    return (*start - *now) / (*start - *full);
}

TrainingPanel::TrainingPanel(QWidget* parent)
    : QWidget(parent), m_summary(makeLabel({}, TextRole::Body, this)), m_grid(new QGridLayout) {
    auto* column = new QVBoxLayout(this);
    column->setContentsMargins(4, 4, 0, 0);
    column->setSpacing(4);
    m_summary->setWordWrap(true);
    m_summary->setObjectName(QStringLiteral("trainingSummary"));
    m_summary->setAccessibleName(tr("How the training goes"));
    column->addWidget(m_summary);
    auto* scroll = new QScrollArea(this);  // the panel is low, the charts are many
    scroll->setWidgetResizable(true);
    scroll->setFrameShape(QFrame::NoFrame);
    auto* content = new QWidget(scroll);
    setStyleClass(content, "page");
    content->setLayout(m_grid);
    m_grid->setContentsMargins(0, 0, 0, 0);
    m_grid->setSpacing(4);
    scroll->setWidget(content);
    column->addWidget(scroll, 1);
    const std::pair<QString, std::vector<std::string>> groups[] = {
        {tr("Loss"), {"train_loss", "validation_loss"}},
        {tr("Validation perplexity"), {"validation_perplexity"}},
        {tr("Accuracy recovered (%)"), {"recovery"}},
        {tr("KL to the teacher"), {"validation_kl"}},
        {tr("Learning rate"), {"learning_rate"}},
        {tr("Gradient norm"), {"gradient_norm"}},
        {tr("Tokens per second"), {"tokens_per_second"}},
        {tr("Value"), {}}};  // curves of other names
    for (const auto& [title, names] : groups) {
        auto* chart = new SeriesChart(content);
        chart->setYTitle(title);
        chart->setAccessibleName(title);
        chart->hide();
        m_plots.push_back({names, chart, false});
    }
}

std::size_t TrainingPanel::groupOf(const std::string& name) const {
    for (std::size_t i = 0; i + 1 < m_plots.size(); ++i) {
        const auto& names = m_plots[i].names;
        if (std::find(names.begin(), names.end(), name) != names.end()) {
            return i;
        }
    }
    return m_plots.size() - 1;
}

void TrainingPanel::startRun(qint64 key) {
    m_key = key;
    m_shown = 0;
    for (Plot& plot : m_plots) {
        plot.chart->clear();
        plot.used = false;
    }
}

void TrainingPanel::showRun(qint64 key, const std::vector<SeriesPoint>& points) {
    if (key != m_key || points.size() < m_shown) {
        startRun(key);
    }
    bool changed = m_shown == 0;
    for (; m_shown < points.size(); ++m_shown) {
        const SeriesPoint& point = points[m_shown];
        if (isLevel(point.name)) {
            continue;
        }
        Plot& plot = m_plots[groupOf(point.name)];
        changed = changed || !plot.used;
        plot.used = true;
        plot.chart->append(point);
    }
    showLevels(points);
    showSummary(points);
    if (changed) {
        m_columns = 0;
        arrange();
    }
}

void TrainingPanel::showLevels(const std::vector<SeriesPoint>& points) {
    const auto start = startOf(points);
    const auto full = lastOf(points, kOriginal);
    std::vector<SeriesChart::Level> levels;
    if (start && full) {
        levels = {{tr("Before training"), *start}, {tr("Original"), *full}};
    }
    m_plots[groupOf("validation_perplexity")].chart->setLevels(std::move(levels));
}

void TrainingPanel::showSummary(const std::vector<SeriesPoint>& points) {
    QStringList parts;
    if (const auto share = recoveredShare(points)) {
        parts << tr("%1% of the lost accuracy is back")
                     .arg(static_cast<int>(std::lround(100 * *share)));
    }
    if (const auto perplexity = lastOf(points, "validation_perplexity")) {
        parts << tr("validation perplexity %1").arg(shortNumber(*perplexity));
    } else if (const auto loss = lastOf(points, "train_loss")) {
        parts << tr("training loss %1").arg(shortNumber(*loss));
    }
    if (const auto speed = lastOf(points, "tokens_per_second")) {
        parts << tr("%1 tokens/s").arg(shortNumber(*speed, 3));
    }
    QString text = parts.join(QStringLiteral(" · "));
    if (!text.isEmpty()) {
        text[0] = text[0].toUpper();
    }
    m_summary->setText(text);
    m_summary->setVisible(!text.isEmpty());
}

QString TrainingPanel::summary() const {
    return m_summary->text();
}

int TrainingPanel::shownCharts() const {
    return static_cast<int>(
        std::count_if(m_plots.begin(), m_plots.end(), [](const Plot& plot) { return plot.used; }));
}

void TrainingPanel::resizeEvent(QResizeEvent* event) {
    QWidget::resizeEvent(event);
    arrange();
}

void TrainingPanel::arrange() {
    const int columns = std::clamp(width() / kChartWidth, 1, 4);
    if (columns == m_columns) {
        return;
    }
    m_columns = columns;
    int at = 0;
    for (const Plot& plot : m_plots) {
        m_grid->removeWidget(plot.chart);
        plot.chart->setVisible(plot.used);
        if (plot.used) {
            m_grid->addWidget(plot.chart, at / columns, at % columns);
            ++at;
        }
    }
}

}  // namespace fettle::ui
