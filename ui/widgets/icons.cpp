#include "ui/widgets/icons.h"

#include <QFile>
#include <QHash>
#include <QIconEngine>
#include <QPaintDevice>
#include <QPainter>
#include <QPixmap>
#include <QPixmapCache>
#include <QSvgRenderer>
#include <utility>

#include "ui/widgets/theme.h"

namespace fettle::ui {
namespace {

QColor tintColor(IconTint tint) {
    const ThemeColors& c = themeColors();
    switch (tint) {
        case IconTint::Muted:
            return c.muted;
        case IconTint::Accent:
            return c.accent;
        case IconTint::OnAccent:
            return c.onAccent;
        case IconTint::Success:
            return c.success;
        case IconTint::Warning:
            return c.warning;
        case IconTint::Danger:
            return c.danger;
        case IconTint::Text:
            break;
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
        const qreal scale = painter->device() ? painter->device()->devicePixelRatio() : 1;
        QPixmap drawn = draw(rect.size() * scale, mode);
        drawn.setDevicePixelRatio(scale);
        painter->drawPixmap(rect.topLeft(), drawn);
    }

    QPixmap pixmap(const QSize& size, QIcon::Mode mode, QIcon::State) override {
        return draw(size, mode);
    }

    QIconEngine* clone() const override { return new ThemedIconEngine(m_name, m_tint); }
    QString key() const override { return QStringLiteral("fettle"); }
    bool isNull() override { return svgSource(m_name).isEmpty(); }

private:
    /// Reading SVG takes longer than a button takes to paint: each size and colour is drawn once.
    QPixmap draw(const QSize& size, QIcon::Mode mode) const {
        QByteArray svg = svgSource(m_name);
        if (size.isEmpty() || svg.isEmpty()) {
            return {};
        }
        const bool disabled = mode == QIcon::Disabled;
        const QString color = (disabled ? themeColors().outline : tintColor(m_tint)).name();
        const QString key = QStringLiteral("fettle/%1/%2/%3x%4/%5")
                                .arg(m_name, color)
                                .arg(size.width())
                                .arg(size.height())
                                .arg(disabled);
        QPixmap pixmap;
        if (QPixmapCache::find(key, &pixmap)) {
            return pixmap;
        }
        pixmap = QPixmap(size);
        pixmap.fill(Qt::transparent);
        QPainter painter(&pixmap);
        painter.setRenderHint(QPainter::Antialiasing);
        painter.setOpacity(disabled ? 0.7 : 1);
        svg.replace("#000", color.toLatin1());
        QSvgRenderer(svg).render(&painter, QRectF(QPointF(0, 0), QSizeF(size)));
        painter.end();
        QPixmapCache::insert(key, pixmap);
        return pixmap;
    }

    QString m_name;
    IconTint m_tint;
};

}  // namespace

QIcon themedIcon(const QString& name, IconTint tint) {
    return QIcon(new ThemedIconEngine(name, tint));
}

}  // namespace fettle::ui
