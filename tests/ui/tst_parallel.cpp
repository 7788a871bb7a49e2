// Parallel coordinates: what is drawn, ranges by mouse, linked selection and hover, axes moved and
// turned over, files.
#include <QComboBox>
#include <QFile>
#include <QLabel>
#include <QMouseEvent>
#include <QPushButton>
#include <QSettings>
#include <QSignalSpy>
#include <QTableView>
#include <QTemporaryDir>
#include <QTest>
#include <QToolButton>
#include <cmath>

#include "explore_fixture.h"
#include "tests/support/window_fixture.h"
#include "ui/charts/chart_export.h"
#include "ui/charts/parallel_chart.h"
#include "ui/charts/tradeoff_chart.h"
#include "ui/models/experiment_table_model.h"
#include "ui/pages/explore_axis_bar.h"
#include "ui/pages/explore_filter_bar.h"
#include "ui/pages/explore_page.h"

using namespace fettle;
using namespace fettle::ui;

namespace {

ParallelData build(const std::vector<ExperimentRecord>& records, const ParallelQuery& query) {
    std::vector<const ExperimentRecord*> pointers;
    for (const ExperimentRecord& record : records) {
        pointers.push_back(&record);
    }
    return buildParallel(std::span<const ExperimentRecord* const>(pointers), query);
}

ParallelQuery usual() {
    ParallelQuery query;
    query.metrics = {"weight_bytes", "decode_tokens_per_s", "perplexity", "kl_mean"};
    return query;
}

void drag(QWidget* widget, const QPointF& from, const QPointF& to) {
    QTest::mousePress(widget, Qt::LeftButton, {}, from.toPoint());
    for (const QPointF& at : {from + (to - from) / 2, to}) {
        QMouseEvent move(QEvent::MouseMove, at, widget->mapToGlobal(at), Qt::NoButton,
                         Qt::LeftButton, {});
        QCoreApplication::sendEvent(widget, &move);
    }
    QTest::mouseRelease(widget, Qt::LeftButton, {}, to.toPoint());
}

struct Opened {
    explicit Opened(std::vector<ExperimentRecord> records = ui::test::syntheticGallery(),
                    ExploreAxisBar::View view = ExploreAxisBar::View::Parallel) {
        service.records = std::move(records);
        QSettings().setValue("explore/parallelAxes", usual().metrics);
        page = std::make_unique<ExplorePage>(&service);
        page->resize(1300, 860);
        page->show();
        chart = page->findChild<ParallelChart*>();
        table = page->findChild<QTableView*>("experimentTable");
        page->findChild<ExploreAxisBar*>()->setView(view);
        QVERIFY(QTest::qWaitForWindowExposed(page.get()));
    }
    template <typename T>
    T* part(const char* name) const {
        return page->findChild<T*>(name);
    }
    int axisOf(const QString& metric) const {
        return static_cast<int>(chart->data().query.metrics.indexOf(metric));
    }
    int rows() const { return table->model()->rowCount(); }

    ui::test::FakeService service;
    std::unique_ptr<ExplorePage> page;
    ParallelChart* chart = nullptr;
    QTableView* table = nullptr;
};

}  // namespace

class TestParallel : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { fettle::test::prepareGuiTest(); }
    void init() { QSettings().clear(); }

    void modelKeepsProtocolsApart() {
        auto records = ui::test::syntheticGallery();
        const ParallelData data = build(records, usual());
        QCOMPARE(data.axes.size(), std::size_t(4));
        QCOMPARE(data.unfinished, 3);
        QCOMPARE(data.otherProtocol, 3);
        QVERIFY(data.axes[2].better == BetterWhen::Lower);
        QCOMPARE(data.axes[2].protocol.toStdString(), ui::test::kPlain);
        QVERIFY(data.lines.back().baseline);
        for (std::size_t line = 0; line < data.lines.size(); ++line) {
            const ExperimentRecord& record =
                records[static_cast<std::size_t>(data.lines[line].id - 1)];
            const auto& perplexity = record.metrics.at("perplexity");
            QCOMPARE(std::isnan(data.value(line, 2)), perplexity.protocol != ui::test::kPlain);
            for (std::size_t axis = 0; axis < 4; ++axis) {
                const double value = data.value(line, axis);
                QVERIFY(std::isnan(value) ||
                        (value >= data.axes[axis].low && value <= data.axes[axis].high));
            }
            QCOMPARE(data.kind(line, 1) == PointKind::Dequantized,
                     !record.metrics.at("decode_tokens_per_s").native);
        }
        // A line needs two ends.
        records.resize(3);
        records[1].metrics.erase("decode_tokens_per_s");
        records[1].metrics.erase("weight_bytes");
        records[1].metrics.erase("kl_mean");
        const ParallelData few = build(records, usual());
        QCOMPARE(few.incomplete, 1);
        QCOMPARE(few.lines.size(), std::size_t(2));
        QCOMPARE(few.values.size(), std::size_t(8));
    }

    void betterIsUp() {
        ParallelChart chart;
        chart.resize(900, 500);
        chart.setData(build(ui::test::syntheticExperiments(60), usual()));
        const auto ends = [&](int axis) {
            double lowY = 0, highY = 0;
            for (const ParallelLine& line : chart.data().lines) {
                const std::size_t index =
                    static_cast<std::size_t>(&line - chart.data().lines.data());
                const double value = chart.data().value(index, static_cast<std::size_t>(axis));
                if (value == chart.data().axes[static_cast<std::size_t>(axis)].low) {
                    lowY = chart.crossing(line.id, axis)->y();
                }
                if (value == chart.data().axes[static_cast<std::size_t>(axis)].high) {
                    highY = chart.crossing(line.id, axis)->y();
                }
            }
            return std::pair(lowY, highY);
        };
        QVERIFY2(ends(1).second < ends(1).first, "fast is up");
        QVERIFY2(ends(2).first < ends(2).second, "low perplexity is up");
        QSignalSpy reversed(&chart, &ParallelChart::reversedChanged);
        QTest::mouseDClick(&chart, Qt::LeftButton, {}, chart.titlePosition(2).toPoint());
        QCOMPARE(reversed.count(), 1);
        QVERIFY2(ends(2).second < ends(2).first, "turned over");
    }

    void brushingFilters() {
        Opened opened;
        const int all = opened.rows();
        const int axis = opened.axisOf("perplexity");
        const QRectF plot = opened.chart->plot();
        const double x = opened.chart->titlePosition(axis).x();
        // From the middle to the top: the better half of the range.
        drag(opened.chart, {x, plot.center().y()}, {x, plot.top() - 20});
        const MetricRange range = opened.chart->ranges().value("perplexity");
        QVERIFY(range.high && !range.low);
        const ParallelAxis& drawn = opened.chart->data().axes[static_cast<std::size_t>(axis)];
        QVERIFY(std::abs(*range.high - (drawn.low + drawn.high) / 2) <
                0.02 * (drawn.high - drawn.low));
        QVERIFY(opened.rows() < all);
        int inside = 0;
        for (const ExperimentRecord& record : opened.service.records) {
            const auto found = record.metrics.find("perplexity");
            inside += found != record.metrics.end() && found->second.value <= *range.high;
        }
        QCOMPARE(opened.rows(), inside);
        QVERIFY2(opened.chart->data().lines.size() > opened.chart->activeLines().size(),
                 "what is outside stays as a ground");
        // The range can be moved as a whole, and a click on its axis takes it away.
        const double before = *range.high;
        drag(opened.chart, {x, plot.top() + plot.height() / 4},
             {x, plot.top() + plot.height() / 2});
        const MetricRange moved = opened.chart->ranges().value("perplexity");
        QVERIFY(moved.low && (!moved.high || *moved.high > before));
        QTest::mouseClick(opened.chart, Qt::LeftButton, {},
                          QPointF(x, plot.top() + plot.height() * 0.9).toPoint());
        QVERIFY(opened.chart->ranges().isEmpty());
        QCOMPARE(opened.rows(), all);
        // The other way round: a range of the filter bar is drawn.
        opened.page->findChild<ExploreFilterBar*>()->setRange("kl_mean", {0.001, 0.02});
        QCOMPARE(opened.chart->ranges().size(), 1);
        QVERIFY(!opened.chart->data().lines.empty());
        opened.part<QPushButton>("clearFilters")->click();
        QVERIFY(opened.chart->ranges().isEmpty());
    }

    void anEmptyRangeCanBeWidened() {
        Opened opened;
        opened.page->findChild<ExploreFilterBar*>()->setRange("kl_mean", {5.0, 6.0});
        QCOMPARE(opened.rows(), 0);
        QVERIFY2(opened.chart->isVisible(), "the chart shows what was left out");
        QVERIFY(opened.chart->activeLines().empty());
        QVERIFY(!opened.chart->data().lines.empty());
    }

    void linksSelectionAndHover() {
        Opened opened(ui::test::syntheticGallery(), ExploreAxisBar::View::Both);
        auto* scatter = opened.page->findChild<TradeoffChart*>();
        QVERIFY(scatter->isVisible() && opened.chart->isVisible());
        opened.page->select({12});
        QCOMPARE(opened.chart->selection(), std::vector<qint64>{12});
        // A place where one line is alone.
        qint64 chosen = -1;
        QPointF at;
        for (const ParallelLine& line : opened.chart->data().lines) {
            const auto here = opened.chart->crossing(line.id, 0);
            const auto there = opened.chart->crossing(line.id, 1);
            if (!here || !there) {
                continue;
            }
            const QPointF middle = (*here + *there) / 2;
            bool alone = true;
            for (const ParallelLine& other : opened.chart->data().lines) {
                const auto a = opened.chart->crossing(other.id, 0);
                const auto b = opened.chart->crossing(other.id, 1);
                alone = alone && (other.id == line.id || !a || !b ||
                                  std::abs(((*a + *b) / 2).y() - middle.y()) > 3);
            }
            if (alone) {
                chosen = line.id;
                at = middle;
                break;
            }
        }
        QVERIFY(chosen > 0);
        QSignalSpy hovered(opened.chart, &ParallelChart::hovered);
        QTest::mouseMove(opened.chart, at.toPoint());
        QTRY_VERIFY(!hovered.isEmpty());
        QCOMPARE(hovered.last()[0].toLongLong(), chosen);
        QVERIFY(opened.chart->hoverText().contains(
            QString::fromStdString(opened.service.experiment(chosen)->name).toHtmlEscaped()));
        QTest::mouseClick(opened.chart, Qt::LeftButton, {}, at.toPoint());
        QCOMPARE(opened.page->selection(), std::vector<qint64>{chosen});
        QCOMPARE(scatter->selection(), std::vector<qint64>{chosen});
        QTest::mouseClick(opened.chart, Qt::LeftButton, Qt::ControlModifier, at.toPoint());
        QVERIFY(opened.page->selection().empty());
        QSignalSpy activated(opened.page.get(), &ExplorePage::experimentActivated);
        QTest::mouseDClick(opened.chart, Qt::LeftButton, {}, at.toPoint());
        QCOMPARE(activated.count(), 1);
        QCOMPARE(activated[0][0].toLongLong(), chosen);
    }

    void axesAreChosenMovedAndKept() {
        {
            Opened opened;
            QCOMPARE(opened.chart->data().query.metrics, usual().metrics);
            drag(opened.chart, opened.chart->titlePosition(0), opened.chart->titlePosition(2));
            QCOMPARE(opened.chart->data().query.metrics,
                     (QStringList{"decode_tokens_per_s", "perplexity", "weight_bytes", "kl_mean"}));
            opened.chart->setFocus();
            QTest::keyClick(opened.chart, Qt::Key_Right, Qt::ControlModifier);
            QCOMPARE(opened.chart->data().query.metrics.last(), QStringLiteral("weight_bytes"));
            QTest::keyClick(opened.chart, Qt::Key_R);
            QVERIFY(opened.chart->reversed().contains("weight_bytes"));
        }
        Opened again;  // its constructor sets the axes anew, the rest is remembered
        QVERIFY(again.chart->reversed().contains("weight_bytes"));
        again.page->findChild<ExploreAxisBar*>()->setParallelAxes({"perplexity"});
        QVERIFY(again.chart->data().axes.size() == 1);
        again.chart->grab();  // says what is missing instead of drawing
        again.page->findChild<ExploreAxisBar*>()->setParallelAxes(
            {"perplexity", "never_measured", "kl_mean"});
        QCOMPARE(again.chart->data().axes.size(), std::size_t(2));
    }

    void walksByKeyboard() {
        Opened opened;
        opened.chart->setFocus();
        QTest::keyClick(opened.chart, Qt::Key_Right);
        QCOMPARE(opened.chart->currentAxis(), 1);
        std::vector<double> ys;
        QSet<qint64> reached;
        for (std::size_t i = 0; i < opened.chart->data().lines.size(); ++i) {
            QTest::keyClick(opened.chart, Qt::Key_Down);
            const qint64 id = opened.chart->currentId();
            reached.insert(id);
            ys.push_back(opened.chart->crossing(id, 1)->y());
            QCOMPARE(opened.page->selection(), std::vector<qint64>{id});
        }
        QVERIFY(std::is_sorted(ys.begin(), ys.end()));
        QCOMPARE(reached.size(), static_cast<qsizetype>(opened.chart->data().lines.size()));
        QTest::keyClick(opened.chart, Qt::Key_Escape);
        QVERIFY(opened.page->selection().empty());
    }

    void drawsManyAndFewAlike() {
        // The raster and the pen agree where lines run.
        ParallelChart chart;
        chart.setTheme(ChartTheme::light());
        chart.resize(900, 500);
        for (const int count : {40, 3000}) {
            chart.setData(build(ui::test::syntheticExperiments(count), usual()));
            QImage image(chart.size(), QImage::Format_RGB32);
            image.fill(Qt::white);
            QPainter painter(&image);
            chart.renderTo(painter, false);
            painter.end();
            int lit = 0, total = 0;
            for (std::size_t line = 0; line < chart.data().lines.size(); line += 7) {
                const auto a = chart.crossing(chart.data().lines[line].id, 0);
                const auto b = chart.crossing(chart.data().lines[line].id, 1);
                if (!a || !b) {
                    continue;
                }
                const QPoint middle = ((*a + *b) / 2).toPoint();
                bool found = false;
                for (int dy = -3; dy <= 3; ++dy) {
                    found |= image.pixelColor(middle + QPoint(0, dy)) != QColor(Qt::white);
                }
                lit += found;
                ++total;
            }
            QVERIFY2(lit >= total * 0.97,
                     qPrintable(QStringLiteral("%1 of %2").arg(lit).arg(total)));
            QVERIFY(chart.drawnPieces() > 0);
        }
    }

    void savesPictureDrawingAndTable() {
        QTemporaryDir folder;
        ParallelChart chart;
        chart.resize(900, 500);
        chart.setData(build(ui::test::syntheticExperiments(400), usual()));
        QMap<QString, MetricRange> ranges;
        ranges["perplexity"] = {std::nullopt, 13.0};
        chart.setRanges(ranges);
        const QString png = folder.filePath("p.png");
        QVERIFY(saveChart(chart, png));
        QCOMPARE(QImage(png).size(), QSize(1800, 1000));
        const QString svg = folder.filePath("p.svg");
        QVERIFY(saveChart(chart, svg));
        QFile drawing(svg);
        QVERIFY(drawing.open(QIODevice::ReadOnly));
        const QByteArray text = drawing.readAll();
        QVERIFY(text.contains("Perplexity"));
        QVERIFY2(!text.contains("<image"), "lines, not a picture of lines");
        const QString csv = folder.filePath("p.csv");
        QVERIFY(saveChart(chart, csv));
        QFile table(csv);
        QVERIFY(table.open(QIODevice::ReadOnly));
        const QList<QByteArray> rows = table.readAll().trimmed().split('\n');
        QCOMPARE(rows[0], QByteArray("id,name,technique,weight_bytes,decode_tokens_per_s,"
                                     "perplexity,kl_mean"));
        QCOMPARE(static_cast<std::size_t>(rows.size() - 1), chart.activeLines().size());
        for (qsizetype i = 1; i < rows.size(); ++i) {
            QVERIFY(rows[i].split(',')[5].toDouble() <= 13.0);
        }
        QVERIFY(!saveChart(chart, folder.filePath("no/such/folder.png")));
    }

    void survivesOddData() {
        ParallelChart chart;
        chart.resize(400, 240);
        chart.grab();
        auto records = ui::test::syntheticExperiments(300);
        for (ExperimentRecord& record : records) {
            record.metrics["perplexity"].value = 12;  // one value: the axis still has two ends
        }
        records[5].metrics["weight_bytes"].value = std::numeric_limits<double>::infinity();
        records[6].metrics["weight_bytes"].value = std::nan("");
        chart.setData(build(records, usual()));
        QVERIFY(std::isnan(chart.data().value(4, 0)));
        chart.grab();
        QTest::mouseMove(&chart, QPoint(200, 120));
        for (const int key : {Qt::Key_Down, Qt::Key_Right, Qt::Key_Delete, Qt::Key_Left}) {
            QTest::keyClick(&chart, static_cast<Qt::Key>(key));
        }
        chart.resize(120, 60);
        chart.grab();
        chart.setData({});
        QTest::mouseClick(&chart, Qt::LeftButton, {}, QPoint(30, 30));
        QTest::keyClick(&chart, Qt::Key_Down);
        chart.grab();
    }
};

QTEST_MAIN(TestParallel)
#include "tst_parallel.moc"
