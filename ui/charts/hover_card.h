// The card that tells everything about the thing under the pointer. Stays inside its parent, never
// takes the mouse.
#pragma once

#include <QLabel>

#include "ui/charts/chart_theme.h"

namespace fettle::ui {

class HoverCard : public QLabel {
    Q_OBJECT

public:
    explicit HoverCard(QWidget* parent);
    void setTheme(const ChartTheme& theme);
    /// Beside `at` (parent coordinates), on the side where there is room.
    void showAt(const QPoint& at, const QString& html);

protected:
    void paintEvent(QPaintEvent* event) override;

private:
    ChartTheme m_theme;
};

}  // namespace fettle::ui
