// Charts below the explore page: scales and ticks, export without a display, frame time, histogram
// and curves.
#include <QFile>
#include <QImage>
#include <QSvgRenderer>
#include <QTemporaryDir>
#include <QTest>
#include <cmath>
#include <ctime>

#include "explore_fixture.h"
#include "ui/charts/axis_scale.h"
#include "ui/charts/chart_export.h"
#include "ui/charts/histogram_chart.h"
#include "ui/charts/series_chart.h"
#include "ui/charts/tradeoff_chart.h"

using namespace fettle;
using namespace fettle::ui;

class TestExploreCharts : public QObject {
    Q_OBJECT

private slots:
    void ticksAreRoundAndInside_data();
    void ticksAreRoundAndInside();
    void unitsFollowTheSize();
    void dequantizedPointsNeverWin();
    void exportsPngAndSvg();
    void refusesWhatItCannotDraw();
    void rasterAndVectorAgree();
    void tenThousandPointsInAFrame();
    void survivesOddData();
    void drawsHistograms();
    void drawsCurves();
};

void TestExploreCharts::ticksAreRoundAndInside_data() {
    QTest::addColumn<bool>("log");
    QTest::addColumn<double>("low");
    QTest::addColumn<double>("high");
    QTest::newRow("linear") << false << 12.1 << 17.3;
    QTest::newRow("negative") << false << -3.0 << 2.0;
    QTest::newRow("tiny") << false << 1e-7 << 5e-7;
    QTest::newRow("huge") << false << 1.0 << 9e12;
    QTest::newRow("log narrow") << true << 7.0 << 9.0;
    QTest::newRow("log decade") << true << 3.0 << 80.0;
    QTest::newRow("log wide") << true << 1e-6 << 1e6;
}

void TestExploreCharts::ticksAreRoundAndInside() {
    QFETCH(bool, log);
    QFETCH(double, low);
    QFETCH(double, high);
    const AxisScale scale("unknown_metric", log, 1);
    const double a = scale.toAxis(low);
    const double b = scale.toAxis(high);
    const auto ticks = scale.ticks(a, b, 6);
    QVERIFY2(ticks.size() >= 2 && ticks.size() <= 16, qPrintable(QString::number(ticks.size())));
    QStringList labels;
    for (const AxisTick& tick : ticks) {
        QVERIFY(tick.position >= a - 1e-6 * (b - a) && tick.position <= b + 1e-6 * (b - a));
        QString number = tick.label;
        const double shown = number.replace(QChar(0x2212), u'-').toDouble();
        const double value = scale.fromAxis(tick.position);
        QVERIFY2(std::abs(shown - value) <= 1e-3 * std::abs(value) + 1e-12, qPrintable(tick.label));
        labels << tick.label;
    }
    QCOMPARE(labels.removeDuplicates(), 0);
    QVERIFY(std::abs(scale.fromAxis(scale.toAxis(low)) - low) < 1e-9 * std::abs(low) + 1e-15);
}

void TestExploreCharts::unitsFollowTheSize() {
    QVERIFY(AxisScale("weight_bytes", false, 8e6).title().endsWith("(MiB)"));
    QVERIFY(AxisScale("weight_bytes", false, 8e10).title().endsWith("(GiB)"));
    QVERIFY(AxisScale("decode_tokens_per_s", false, 40).title().endsWith("(tokens/s)"));
    QCOMPARE(AxisScale("weight_bytes", false, 8e6).toAxis(2 * 1048576.0), 2.0);
}

void TestExploreCharts::dequantizedPointsNeverWin() {
    auto records = test::syntheticExperiments(30);
    ExperimentRecord fast = records[1];
    fast.id = 900;
    test::put(fast, test::measured("decode_tokens_per_s", 1e6));
    test::put(fast, test::measured("perplexity", 1, 0, test::kPlain));
    fast.metrics["decode_tokens_per_s"].native = false;
    records.push_back(fast);
    const TradeoffData data = buildTradeoff(records, {});
    for (const TradeoffPoint& point : data.points) {
        if (point.id == 900) {
            QVERIFY(point.kind == PointKind::Dequantized);
            QVERIFY(!point.onFront);
        }
    }
    QVERIFY(data.front.size() > 1);
}

void TestExploreCharts::exportsPngAndSvg() {
    QTemporaryDir folder;
    const auto records = test::syntheticGallery();
    for (const bool dark : {false, true}) {
        const QString png = folder.filePath("chart.png");
        QVERIFY(writeTradeoffChart(records, "decode_tokens_per_s", "perplexity", png, {900, 560},
                                   dark));
        const QImage image(png);
        QCOMPARE(image.size(), QSize(1800, 1120));
        for (const QPoint& corner :
             {QPoint(3, 3), QPoint(1796, 3), QPoint(3, 1116), QPoint(1796, 1116)}) {
            QCOMPARE(image.pixelColor(corner).lightness() < 128, dark);
        }
        QSet<QRgb> colors;
        for (int y = 0; y < image.height(); y += 2) {
            for (int x = 0; x < image.width(); x += 2) {
                colors.insert(image.pixel(x, y));
            }
        }
        QVERIFY(colors.size() > 50);
    }
    const QString svg = folder.filePath("chart.svg");
    QVERIFY(writeTradeoffChart(records, "weight_bytes", "kl_mean", svg, {900, 560}, false));
    QSvgRenderer renderer(svg);
    QVERIFY(renderer.isValid());
    QCOMPARE(renderer.viewBox().size(), QSize(900, 560));
    QFile file(svg);
    QVERIFY(file.open(QIODevice::ReadOnly));
    const QByteArray text = file.readAll();
    QVERIFY(text.contains("better"));
    QVERIFY2(!text.contains("<image"), "points of an SVG are shapes");
    // Large counts, too: what the screen thins out is drawn as shapes.
    QVERIFY(writeTradeoffChart(test::syntheticExperiments(1200), "decode_tokens_per_s",
                               "perplexity", svg, {900, 560}, false));
}

void TestExploreCharts::refusesWhatItCannotDraw() {
    QTemporaryDir folder;
    const auto records = test::syntheticExperiments(5);
    QVERIFY(!writeTradeoffChart({}, "decode_tokens_per_s", "perplexity", folder.filePath("a.png"),
                                {600, 400}, false));
    QVERIFY(!writeTradeoffChart(records, "nonsense", "perplexity", folder.filePath("a.png"),
                                {600, 400}, false));
    QVERIFY(!writeTradeoffChart(records, "decode_tokens_per_s", "perplexity",
                                folder.filePath("no/such/a.png"), {600, 400}, false));
    QVERIFY(!writeTradeoffChart(records, "decode_tokens_per_s", "perplexity",
                                folder.filePath("a.png"), {0, 0}, false));
    QVERIFY(!QFile::exists(folder.filePath("a.png")));
}

void TestExploreCharts::rasterAndVectorAgree() {
    // 600 points are copied from sprites on screen; the same picture drawn as shapes must look
    // alike.
    TradeoffChart chart;
    chart.setTheme(ChartTheme::light());
    chart.resize(800, 500);
    chart.setData(buildTradeoff(test::syntheticExperiments(600), {}));
    QImage images[2];
    for (int i = 0; i < 2; ++i) {
        images[i] = QImage(chart.size(), QImage::Format_ARGB32_Premultiplied);
        images[i].fill(Qt::white);
        QPainter painter(&images[i]);
        chart.renderTo(painter, i == 1);
    }
    qint64 difference = 0;
    for (int y = 0; y < images[0].height(); ++y) {
        for (int x = 0; x < images[0].width(); ++x) {
            difference += std::abs(qGray(images[0].pixel(x, y)) - qGray(images[1].pixel(x, y)));
        }
    }
    const double mean = static_cast<double>(difference) / (800.0 * 500);
    QVERIFY2(mean < 3, qPrintable(QString::number(mean)));
    QCOMPARE(chart.drawnPoints() > 100, true);
}

void TestExploreCharts::tenThousandPointsInAFrame() {
    TradeoffChart chart;
    chart.resize(1280, 720);
    chart.setData(buildTradeoff(test::syntheticExperiments(10000), {}));
    QImage target(chart.size(), QImage::Format_ARGB32_Premultiplied);
    std::vector<double> frames;
    for (int i = 0; i < 31; ++i) {
        // Processor time: what the frame costs, whatever else the machine is doing.
        const std::clock_t start = std::clock();
        chart.pan(QPointF(i % 2 ? 9 : -9, i % 2 ? 4 : -4));
        chart.QWidget::render(&target);
        frames.push_back(1000.0 * static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
    }
    std::sort(frames.begin(), frames.end());
    qInfo("10,000 points: pan frame median %.1f ms, fastest %.1f ms", frames[15], frames[0]);
    // The goal is 16 ms; cold caches of a busy machine get some room, a plain scatter series (55
    // ms) would still fail.
    QVERIFY2(frames[3] < 30, qPrintable(QString::number(frames[3])));
}

void TestExploreCharts::survivesOddData() {
    auto records = test::syntheticExperiments(6);
    records[1].metrics["perplexity"].value = std::nan("");
    records[2].metrics["decode_tokens_per_s"].value = INFINITY;
    for (std::size_t i : {3U, 4U, 5U}) {  // all on one spot
        test::put(records[i], test::measured("perplexity", 10, 0, test::kPlain));
        test::put(records[i], test::measured("decode_tokens_per_s", 10));
    }
    TradeoffChart chart;
    chart.resize(640, 480);
    for (const bool log : {false, true}) {
        chart.setLogarithmic(log, log);
        chart.setData(buildTradeoff(records, {}));
        QCOMPARE(chart.data().points.size(), std::size_t(4));
        for (int i = 0; i < 300; ++i) {
            chart.zoom(1.5, {300, 200});  // has an end
        }
        QVERIFY(chart.view().x1 > chart.view().x0);
        chart.resetView();
        for (int i = 0; i < 300; ++i) {
            chart.zoom(0.5, {300, 200});
        }
        QVERIFY(std::isfinite(chart.view().x1));
        chart.resetView();
        QVERIFY(!chart.grab().isNull());
    }
    chart.setData({});
    QTest::keyClick(&chart, Qt::Key_Right);
    QTest::keyClick(&chart, Qt::Key_Return);
    QVERIFY(!chart.grab().isNull());
}

void TestExploreCharts::drawsHistograms() {
    HistogramChart chart;
    chart.resize(420, 260);
    QVERIFY(!chart.grab().isNull());
    TensorHistogram histogram;
    histogram.tensor = "model.layers.0.mlp";
    histogram.minimum = -1;
    histogram.maximum = 1;
    for (int i = 0; i < 64; ++i) {
        histogram.bins.push_back(
            static_cast<std::uint64_t>(1e5 * std::exp(-0.01 * (i - 32) * (i - 32))));
        histogram.count += histogram.bins.back();
    }
    chart.setHistogram(histogram);
    const QImage linear = chart.grab().toImage();
    chart.setLogarithmicCount(true);
    chart.setOverlay(histogram);
    QVERIFY(chart.grab().toImage() != linear);
    chart.show();
    QTest::mouseMove(&chart, {230, 100});
    QTest::mouseMove(&chart, {231, 100});
    QTRY_VERIFY(chart.hoverText().contains("values"));
    histogram.maximum = -1;  // constant
    histogram.bins = {5};
    chart.setHistogram(histogram);
    QVERIFY(!chart.grab().isNull());
    chart.clear();
    QVERIFY(!chart.grab().isNull());
}

void TestExploreCharts::drawsCurves() {
    SeriesChart chart;
    chart.resize(420, 260);
    QVERIFY(!chart.grab().isNull());
    for (int step = 0; step < 5000; ++step) {
        chart.append({"train_loss", static_cast<double>(step), 2 + 3 * std::exp(-step / 800.0)});
        if (step % 250 == 0) {
            chart.append(
                {"validation_loss", static_cast<double>(step), 2.1 + 3 * std::exp(-step / 800.0)});
        }
    }
    chart.append({"train_loss", 10, 7});  // repeated after a resume: replaces
    chart.append({"train_loss", 5001, NAN});
    QCOMPARE(chart.count(), std::size_t(5020));
    chart.setLogarithmic(true);
    const std::clock_t start = std::clock();
    QVERIFY(!chart.grab().isNull());
    QVERIFY(std::clock() - start < CLOCKS_PER_SEC / 5);
    chart.show();
    QTest::mouseMove(&chart, {230, 100});
    QTest::mouseMove(&chart, {231, 100});
    QTRY_VERIFY(chart.hoverText().contains("Training loss"));
}

QTEST_MAIN(TestExploreCharts)
#include "tst_explore_charts.moc"
