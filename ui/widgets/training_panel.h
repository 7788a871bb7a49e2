// What a training run shows while it runs: loss, validation perplexity against the levels it starts
// from and aims at, learning rate, gradient norm, speed, and how much accuracy is back. GUI thread
// only.
#pragma once

#include <QWidget>
#include <optional>
#include <string>
#include <vector>

#include "engine/experiment/run_values.h"

class QGridLayout;
class QLabel;

namespace fettle::ui {

class SeriesChart;

/// Share of the lost accuracy that is back, 0..1 (more than 1: better than before): the last point
/// of the series "recovery" (in %), else from the validation perplexities: (before training - now)
/// / (before training - original). None while one of them is unknown.
std::optional<double> recoveredShare(const std::vector<SeriesPoint>& points);

class TrainingPanel : public QWidget {
    Q_OBJECT

public:
    explicit TrainingPanel(QWidget* parent = nullptr);

    /// Points of the run `key`. Where it is the run shown already, only what came since is added.
    void showRun(qint64 key, const std::vector<SeriesPoint>& points);
    QString summary() const;
    /// Charts that have something to show.
    int shownCharts() const;

protected:
    void resizeEvent(QResizeEvent* event) override;

private:
    struct Plot {
        std::vector<std::string> names;
        SeriesChart* chart;
        bool used = false;
    };
    void startRun(qint64 key);
    std::size_t groupOf(const std::string& name) const;
    void showLevels(const std::vector<SeriesPoint>& points);
    void arrange();
    void showSummary(const std::vector<SeriesPoint>& points);

    QLabel* m_summary;
    QGridLayout* m_grid;
    std::vector<Plot> m_plots;
    qint64 m_key = 0;
    std::size_t m_shown = 0;  ///< points of the run that the charts have
    int m_columns = 0;
};

}  // namespace fettle::ui
