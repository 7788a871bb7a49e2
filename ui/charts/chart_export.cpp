#include "ui/charts/chart_export.h"

#include <QApplication>
#include <QImage>
#include <QPainter>
#include <QSaveFile>
#include <QSvgGenerator>
#include <memory>

#include "ui/charts/tradeoff_chart.h"

namespace fettle::ui {
namespace {

void ensureApplication() {
    if (QCoreApplication::instance()) {
        return;
    }
    // Lives until the process ends: the fonts of charts drawn later hang on it.
    static int count = 1;
    static char name[] = "fettle-charts";
    static char* arguments[] = {name, nullptr};
    if (qEnvironmentVariableIsEmpty("QT_QPA_PLATFORM")) {
        qputenv("QT_QPA_PLATFORM", "offscreen");
    }
    static const auto application = std::make_unique<QApplication>(count, arguments);
}

bool writeSvg(TradeoffChart& chart, QIODevice& file) {
    QSvgGenerator generator;
    generator.setOutputDevice(&file);
    generator.setSize(chart.size());
    generator.setViewBox(QRect(QPoint(0, 0), chart.size()));
    generator.setTitle(QStringLiteral("%1 against %2")
                           .arg(chart.view().yScale.title(), chart.view().xScale.title()));
    QPainter painter(&generator);
    chart.renderTo(painter, true);
    return painter.end();
}

bool writePng(TradeoffChart& chart, QIODevice& file) {
    constexpr qreal ratio = 2;
    QImage image(chart.size() * ratio, QImage::Format_ARGB32_Premultiplied);
    image.setDevicePixelRatio(ratio);
    image.fill(Qt::white);
    QPainter painter(&image);
    painter.setRenderHint(QPainter::Antialiasing);
    chart.renderTo(painter, false);
    painter.end();
    return image.save(&file, "PNG");
}

}  // namespace

bool saveChart(TradeoffChart& chart, const QString& path) {
    // Written beside and renamed: a full disk leaves no half picture behind.
    QSaveFile file(path);
    if (!file.open(QIODevice::WriteOnly)) {
        return false;
    }
    const bool svg = path.endsWith(QLatin1String(".svg"), Qt::CaseInsensitive);
    return (svg ? writeSvg(chart, file) : writePng(chart, file)) && file.commit();
}

bool writeTradeoffChart(const std::vector<ExperimentRecord>& records, const QString& xMetric,
                        const QString& yMetric, const QString& path, QSize size, bool dark) {
    if (size.width() < 100 || size.height() < 100) {
        return false;
    }
    ensureApplication();
    if (!qobject_cast<QApplication*>(QCoreApplication::instance())) {
        return false;  // an application without widgets cannot draw charts
    }
    TradeoffQuery query;
    query.x = xMetric;
    query.y = yMetric;
    TradeoffData data = buildTradeoff(records, query);
    if (data.points.empty()) {
        return false;
    }
    TradeoffChart chart;
    chart.setTheme(dark ? ChartTheme::darkTheme() : ChartTheme::light());
    chart.resize(size);
    // A widget that was never shown is not laid out: it must believe it is, without appearing
    // anywhere.
    chart.setAttribute(Qt::WA_DontShowOnScreen);
    chart.show();
    chart.setData(std::move(data));
    return saveChart(chart, path);
}

}  // namespace fettle::ui
