// How the values of a tensor are spread: one bar per bin, counts linear or logarithmic. A second
// tensor (the same one after quantization) can be laid over it as a line. GUI thread only.
#pragma once

#include <optional>

#include "engine/experiment/model_report.h"
#include "ui/charts/plain_chart.h"

namespace fettle::ui {

class HistogramChart : public PlainChart {
    Q_OBJECT

public:
    using PlainChart::PlainChart;

    void setHistogram(const TensorHistogram& histogram);
    void setOverlay(const TensorHistogram& histogram);
    void clear();
    /// Rare values, which rounding hurts first, are seen only with logarithmic counts.
    void setLogarithmicCount(bool logarithmic);

protected:
    Frame frame() const override;
    void paintContent(QPainter& painter, const Frame& frame) override;
    QString describe(const QPointF& at, const Frame& frame) const override;
    QString emptyText() const override;
    QString xTitle() const override;
    QString yTitle() const override;

private:
    std::optional<TensorHistogram> m_histogram;
    std::optional<TensorHistogram> m_overlay;
    bool m_logarithmic = false;
};

}  // namespace fettle::ui
