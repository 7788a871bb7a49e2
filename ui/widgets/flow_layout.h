// Items side by side, in as many rows as the width asks for: chips and tags. GUI thread only.
#pragma once

#include <QLayout>
#include <QList>

namespace fettle::ui {

class FlowLayout : public QLayout {
public:
    explicit FlowLayout(QWidget* parent = nullptr, int spacing = 6);
    ~FlowLayout() override;

    void addItem(QLayoutItem* item) override;
    int count() const override { return static_cast<int>(m_items.size()); }
    QLayoutItem* itemAt(int index) const override { return m_items.value(index); }
    QLayoutItem* takeAt(int index) override;
    Qt::Orientations expandingDirections() const override { return {}; }
    bool hasHeightForWidth() const override { return true; }
    int heightForWidth(int width) const override;
    QSize sizeHint() const override { return minimumSize(); }
    QSize minimumSize() const override;
    void setGeometry(const QRect& rect) override;

private:
    /// Lays the items out in `rect`, or only measures; returns the height they take.
    int arrange(const QRect& rect, bool measure) const;

    QList<QLayoutItem*> m_items;
};

}  // namespace fettle::ui
