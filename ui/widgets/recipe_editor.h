// The cards of a recipe, in order, over a RecipeModel: reorder by drag or buttons, add, duplicate,
// remove. GUI thread only.
#pragma once

#include <QWidget>
#include <vector>

class QStackedLayout;
class QVBoxLayout;

namespace fettle::ui {

class EmptyState;
class RecipeModel;
class TechniqueCard;

class RecipeEditor : public QWidget {
    Q_OBJECT

public:
    explicit RecipeEditor(RecipeModel* model, QWidget* parent = nullptr);

    const std::vector<TechniqueCard*>& cards() const { return m_cards; }
    EmptyState* emptyState() const { return m_empty; }

signals:
    void sweepRequested(int row, const std::string& parameter);

protected:
    void dragEnterEvent(QDragEnterEvent* event) override;
    void dragMoveEvent(QDragMoveEvent* event) override;
    void dragLeaveEvent(QDragLeaveEvent* event) override;
    void dropEvent(QDropEvent* event) override;
    void paintEvent(QPaintEvent* event) override;

private:
    void rebuild();
    void insertCard(int row);
    void refreshCard(int row);
    /// -1 where its step is gone.
    int rowOf(const TechniqueCard* card) const;
    void renumber();
    int gapAt(int y) const;
    void setGap(int gap);

    RecipeModel* m_model;
    QVBoxLayout* m_column;
    EmptyState* m_empty;
    std::vector<TechniqueCard*> m_cards;
    int m_gap = -1;  ///< where a dragged card would land; -1: nothing is dragged
};

}  // namespace fettle::ui
