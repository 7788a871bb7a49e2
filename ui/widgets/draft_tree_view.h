// The guesses of one pass as a tree: what was drafted after what, what was accepted, and the token
// the model added itself. GUI thread only.
#pragma once

#include <QWidget>
#include <vector>

#include "engine/experiment/run_values.h"

namespace fettle::ui {

class DraftTreeView : public QWidget {
    Q_OBJECT

public:
    explicit DraftTreeView(QWidget* parent = nullptr);

    /// The tokens of one pass; a pass without draft shows the model's own token alone.
    void setRound(const std::vector<TokenPiece>& tokens);
    int nodeCount() const { return static_cast<int>(m_nodes.size()); }
    /// Place of a token of the round in the widget, for tests.
    QRectF placeOf(int token) const;
    QSize sizeHint() const override;
    QSize minimumSizeHint() const override { return {120, 96}; }

protected:
    void paintEvent(QPaintEvent* event) override;
    void resizeEvent(QResizeEvent* event) override;
    bool event(QEvent* event) override;

private:
    struct Node {
        TokenPiece token;
        int parent = -1;  ///< in m_nodes
        int depth = 0;
        double row = 0;
        QRectF place;
    };

    void layOut();
    double placeRows(int node, double next);
    QString label(const TokenPiece& token) const;

    std::vector<Node> m_nodes;
    int m_depth = 0;
    double m_rows = 1;
};

}  // namespace fettle::ui
