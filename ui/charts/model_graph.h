// A model drawn as a graph: layers as blocks that unfold into their operations, the colour a metric
// of the weights. Hover or the arrow keys tell about a node, a click or Enter asks what to do with
// it, the arrow in a block's head (or Left and Right) folds it. Only what is visible is drawn. GUI
// thread only.
#pragma once

#include <QAbstractScrollArea>
#include <QHash>
#include <QStringList>
#include <set>

#include "ui/charts/chart_theme.h"
#include "ui/models/block_graph.h"

namespace fettle::ui {

class HoverCard;

class ModelGraph : public QAbstractScrollArea {
    Q_OBJECT

public:
    explicit ModelGraph(QWidget* parent = nullptr);

    void setReport(const ModelReport& report);
    void setMetric(std::vector<LayerMetric> metrics, const QString& metric);
    /// What the recipe does to single weights, by canonical name: "int8", "left alone".
    void setMarks(QHash<QString, QString> marks);
    void setOpen(int layer, bool open);
    bool isOpen(int layer) const { return m_open.count(layer) != 0; }
    const BlockGraph& graph() const { return m_graph; }
    const ModelReport& report() const { return m_report; }
    /// In viewport coordinates.
    QRect nodeRect(std::size_t node) const;
    /// The arrow that folds a block; null where there is none.
    QRect foldRect(std::size_t node) const;
    int current() const { return m_current; }
    QString hoverText() const;
    /// Marks of the weights of a node, without repetition.
    QStringList marksOf(std::size_t node) const;
    QSize sizeHint() const override { return {480, 360}; }

signals:
    /// `at` is where a menu for the node belongs, in global coordinates.
    void nodeActivated(std::size_t node, const QPoint& at);

protected:
    void paintEvent(QPaintEvent* event) override;
    void resizeEvent(QResizeEvent* event) override;
    bool viewportEvent(QEvent* event) override;
    void keyPressEvent(QKeyEvent* event) override;
    void focusInEvent(QFocusEvent* event) override;
    void focusOutEvent(QFocusEvent* event) override;
    void changeEvent(QEvent* event) override;

private:
    void rebuild();
    void layOut();
    int nodeAt(const QPoint& at) const;
    void press(const QPoint& at);
    void setCurrent(int node);
    QString describe(std::size_t node) const;
    double placeOf(double value) const;
    void paintEdges(QPainter& painter) const;
    void paintNode(QPainter& painter, std::size_t node) const;
    void paintLegend(QPainter& painter) const;

    ModelReport m_report;
    BlockGraph m_graph;
    std::vector<QRect> m_rects;  ///< in the coordinates of the whole drawing
    std::set<int> m_open;
    std::vector<LayerMetric> m_metrics;
    QString m_metric;
    QHash<QString, QString> m_marks;
    ChartTheme m_theme;
    HoverCard* m_card;
    int m_current = 0;
};

}  // namespace fettle::ui
