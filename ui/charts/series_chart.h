// Curves that grow while a run trains: loss over steps, one line per name, and levels to hold them
// against. Takes points one by one and thins what is finer than a pixel. GUI thread only.
#pragma once

#include <QTimer>
#include <vector>

#include "engine/experiment/run_values.h"
#include "ui/charts/plain_chart.h"

namespace fettle::ui {

/// "Validation loss" for "validation_loss"; names of newer versions without their underscores.
QString seriesTitle(const QString& name);

class SeriesChart : public PlainChart {
    Q_OBJECT

public:
    /// A value that does not change, drawn across: what the full-precision model reaches.
    struct Level {
        QString title;
        double value = 0;
    };

    explicit SeriesChart(QWidget* parent = nullptr);

    /// Redraws at most some 30 times a second, however fast points come.
    void append(const SeriesPoint& point);
    void setPoints(const std::vector<SeriesPoint>& points);
    void clear();
    void setLogarithmic(bool logarithmic);
    void setLevels(std::vector<Level> levels);
    /// In place of the one made from the names of the curves.
    void setYTitle(const QString& title);
    void setEmptyText(const QString& text);
    std::size_t count() const;

protected:
    Frame frame() const override;
    void paintContent(QPainter& painter, const Frame& frame) override;
    QString describe(const QPointF& at, const Frame& frame) const override;
    QString emptyText() const override;
    QString xTitle() const override;
    QString yTitle() const override;

private:
    struct Line {
        QString name;
        std::vector<QPointF> points;  ///< (step, value), in the order of steps
    };
    void add(const SeriesPoint& point);
    void paintLevels(QPainter& painter, const Frame& frame) const;
    void paintLegend(QPainter& painter, const Frame& frame) const;
    static Line smoothed(const Line& line);
    void paintLine(QPainter& painter, const Frame& frame, const Line& line) const;

    std::vector<Line> m_lines;
    std::vector<Level> m_levels;
    QString m_yTitle;
    QString m_emptyText;
    QTimer m_redraw;
    bool m_logarithmic = false;
};

}  // namespace fettle::ui
