// A small live curve (training loss while it runs). Draws at most one point per pixel. GUI thread
// only.
#pragma once

#include <QWidget>
#include <vector>

#include "engine/experiment/run_values.h"

namespace fettle::ui {

class CurvePlot : public QWidget {
    Q_OBJECT

public:
    explicit CurvePlot(QWidget* parent = nullptr);

    /// Points of one or more series, told apart by their names.
    void setPoints(const std::vector<SeriesPoint>& points);

protected:
    void paintEvent(QPaintEvent* event) override;
    QSize sizeHint() const override { return {260, 120}; }

private:
    std::vector<SeriesPoint> m_points;
};

}  // namespace fettle::ui
