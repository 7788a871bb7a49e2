#include "ui/widgets/icons.h"

#include <QFile>
#include <QHash>
#include <QIconEngine>
#include <QPainter>
#include <QPixmap>
#include <QSvgRenderer>
#include <utility>

#include "ui/widgets/theme.h"

namespace fettle::ui {
namespace {

QColor tintColor(IconTint tint) {
    const ThemeColors& c = themeColors();
    switch (tint) {
        case IconTint::Muted: return c.muted;
        case IconTint::Accent: return c.accent;
        case IconTint::OnAccent: return c.onAccent;
        case IconTint::Success: return c.success;
        case IconTint::Warning: return c.warning;
        case IconTint::Danger: return c.danger;
        case IconTint::Text: break;
    }
    return c.text;
}

QByteArray svgSource(const QString& name) {
    static QHash<QString, QByteArray> cache;
    const auto found = cache.constFind(name);
    if (found != cache.constEnd()) {
        return *found;
    }
    QFile file(QStringLiteral(":/icons/%1.svg").arg(name));
    return *cache.insert(name, file.open(QIODevice::ReadOnly) ? file.readAll() : QByteArray());
}

/// Recolours at paint time (the files draw in #000), so that icons follow the theme.
class ThemedIconEngine : public QIconEngine {
public:
    ThemedIconEngine(QString name, IconTint tint) : m_name(std::move(name)), m_tint(tint) {}

    void paint(QPainter* painter, const QRect& rect, QIcon::Mode mode, QIcon::State) override {
        QByteArray svg = svgSource(m_name);
        if (svg.isEmpty()) {
            return;
        }
        QColor color = mode == QIcon::Disabled ? themeColors().outline : tintColor(m_tint);
        svg.replace("#000", color.name().toLatin1());
        QSvgRenderer renderer(svg);
        painter->save();
        if (mode == QIcon::Disabled) {
            painter->setOpacity(painter->opacity() * 0.7);
        }
        renderer.render(painter, QRectF(rect));
        painter->restore();
    }

    QPixmap pixmap(const QSize& size, QIcon::Mode mode, QIcon::State state) override {
        if (size.isEmpty()) {
            return {};
        }
        QPixmap pixmap(size);
        pixmap.fill(Qt::transparent);
        QPainter painter(&pixmap);
        painter.setRenderHint(QPainter::Antialiasing);
        paint(&painter, QRect(QPoint(0, 0), size), mode, state);
        return pixmap;
    }

    QIconEngine* clone() const override { return new ThemedIconEngine(m_name, m_tint); }
    QString key() const override { return QStringLiteral("fettle"); }
    bool isNull() override { return svgSource(m_name).isEmpty(); }

private:
    QString m_name;
    IconTint m_tint;
};

}  // namespace

QIcon themedIcon(const QString& name, IconTint tint) { return QIcon(new ThemedIconEngine(name, tint)); }

}  // namespace fettle::ui
