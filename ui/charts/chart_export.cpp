#include "ui/charts/chart_export.h"

#include <QApplication>
#include <QBuffer>
#include <QImage>
#include <QPainter>
#include <QSaveFile>
#include <QSvgGenerator>
#include <memory>

#include "ui/charts/parallel_chart.h"
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

template <typename Chart>
bool writeSvg(Chart& chart, const QString& title, QIODevice& file) {
    QSvgGenerator generator;
    generator.setOutputDevice(&file);
    generator.setSize(chart.size());
    generator.setViewBox(QRect(QPoint(0, 0), chart.size()));
    generator.setTitle(title);
    QPainter painter(&generator);
    chart.renderTo(painter, true);
    return painter.end();
}

template <typename Chart>
bool writePng(Chart& chart, QIODevice& file) {
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

bool endsWith(const QString& path, const char* ending) {
    return path.endsWith(QLatin1String(ending), Qt::CaseInsensitive);
}

QString titleOf(const TradeoffChart& chart) {
    return QCoreApplication::translate("Explore", "%1 against %2")
        .arg(chart.view().yScale.title(), chart.view().xScale.title());
}

QString titleOf(const ParallelChart& chart) {
    QStringList titles;
    for (const ParallelAxis& axis : chart.data().axes) {
        titles << metricTitle(axis.metric);
    }
    return titles.join(QStringLiteral(", "));
}

template <typename Chart>
QByteArray svgOf(Chart& chart) {
    QBuffer buffer;
    buffer.open(QIODevice::WriteOnly);
    writeSvg(chart, titleOf(chart), buffer);
    return buffer.data();
}

}  // namespace

QByteArray chartSvg(TradeoffChart& chart) {
    return svgOf(chart);
}

QByteArray chartSvg(ParallelChart& chart) {
    return svgOf(chart);
}

bool saveChart(TradeoffChart& chart, const QString& path) {
    // Written beside and renamed: a full disk leaves no half picture behind.
    QSaveFile file(path);
    if (!file.open(QIODevice::WriteOnly)) {
        return false;
    }
    if (endsWith(path, ".csv")) {
        const QByteArray csv = tradeoffCsv(chart.data()).toUtf8();
        return file.write(csv) == csv.size() && file.commit();
    }
    return (endsWith(path, ".svg") ? writeSvg(chart, titleOf(chart), file)
                                   : writePng(chart, file)) &&
           file.commit();
}

bool saveChart(ParallelChart& chart, const QString& path) {
    QSaveFile file(path);
    if (!file.open(QIODevice::WriteOnly)) {
        return false;
    }
    if (endsWith(path, ".csv")) {
        const QByteArray csv = parallelCsv(chart.data(), chart.activeLines()).toUtf8();
        return file.write(csv) == csv.size() && file.commit();
    }
    return (endsWith(path, ".svg") ? writeSvg(chart, titleOf(chart), file)
                                   : writePng(chart, file)) &&
           file.commit();
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
