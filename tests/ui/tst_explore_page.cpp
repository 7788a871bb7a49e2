// The explore page as a whole: linked selection, filters, protocols, Pareto front, removal with
// undo, keyboard.
#include <QApplication>
#include <QClipboard>
#include <QComboBox>
#include <QHeaderView>
#include <QLabel>
#include <QLineEdit>
#include <QMimeData>
#include <QPushButton>
#include <QSettings>
#include <QSignalSpy>
#include <QSortFilterProxyModel>
#include <QTableView>
#include <QTemporaryDir>
#include <QTest>
#include <ctime>

#include "explore_fixture.h"
#include "ui/charts/tradeoff_chart.h"
#include "ui/models/experiment_table_model.h"
#include "ui/pages/explore_axis_bar.h"
#include "ui/pages/explore_detail_panel.h"
#include "ui/pages/explore_filter_bar.h"
#include "ui/pages/explore_page.h"

using namespace fettle;
using namespace fettle::ui;

namespace {

/// A page with its parts at hand.
struct Opened {
    explicit Opened(std::vector<ExperimentRecord> records = test::syntheticGallery()) {
        service.records = std::move(records);
        page = std::make_unique<ExplorePage>(&service);
        page->resize(1280, 800);
        page->show();
        QApplication::setActiveWindow(page.get());  // keys go there with no window manager, too
        chart = page->findChild<TradeoffChart*>();
        table = page->findChild<QTableView*>("experimentTable");
        QVERIFY(QTest::qWaitForWindowExposed(page.get()));
    }
    template <typename T>
    T* part(const char* name) const {
        return page->findChild<T*>(name);
    }
    int tableRow(qint64 id) const {
        for (int row = 0; row < table->model()->rowCount(); ++row) {
            if (table->model()->index(row, 0).data(ExperimentTableModel::IdRole).toLongLong() ==
                id) {
                return row;
            }
        }
        return -1;
    }
    std::vector<qint64> tableSelection() const {
        std::vector<qint64> ids;
        for (const QModelIndex& index : table->selectionModel()->selectedRows()) {
            ids.push_back(index.data(ExperimentTableModel::IdRole).toLongLong());
        }
        std::sort(ids.begin(), ids.end());
        return ids;
    }
    QPoint at(qint64 id) const {
        return chart->pointPosition(id).value_or(QPointF(-1, -1)).toPoint();
    }

    test::FakeService service;
    std::unique_ptr<ExplorePage> page;
    TradeoffChart* chart = nullptr;
    QTableView* table = nullptr;
};

/// A finished experiment with nothing near it on the default axes.
qint64 lonelyPoint(const Opened& opened) {
    for (const TradeoffPoint& point : opened.chart->data().points) {
        const auto here = opened.chart->pointPosition(point.id);
        bool alone = here.has_value() && !point.baseline;
        for (const TradeoffPoint& other : opened.chart->data().points) {
            const auto there = opened.chart->pointPosition(other.id);
            alone =
                alone && (other.id == point.id || !there || QLineF(*here, *there).length() > 25);
        }
        if (alone) {
            return point.id;
        }
    }
    return -1;
}

}  // namespace

class TestExplorePage : public QObject {
    Q_OBJECT

private slots:
    void initTestCase();
    void init() { QSettings().clear(); }

    void linksSelectionBothWays();
    void brushesManyPoints();
    void drawsTheTrueFront();
    void drawsTheFrontOfThreeMetrics();
    void separatesProtocols();
    void leavesOutUnfinishedRuns();
    void hoverTellsEverything();
    void movesByKeyboard();
    void zoomsAroundTheCursorAndResets();
    void filtersChartAndTable();
    void removesAndUndoes();
    void renames();
    void respectsReadOnly();
    void followsTheService();
    void comparesSeveral();
    void leadsToTheAllocation();
    void fillsTheTable();
    void copiesCsv();
    void keepsItsViewState();
    void showsEmptyStates();
    void logAxesLeaveOutZero();
    void tenThousandOpenInASecond();
};

void TestExplorePage::initTestCase() {
    static QTemporaryDir folder;
    QSettings::setDefaultFormat(QSettings::IniFormat);
    QSettings::setPath(QSettings::IniFormat, QSettings::UserScope, folder.path());
    QCoreApplication::setOrganizationName("fettle-tests");
    QCoreApplication::setApplicationName("explore");
}

void TestExplorePage::linksSelectionBothWays() {
    Opened opened;
    const qint64 id = lonelyPoint(opened);
    QVERIFY(id > 0);
    QTest::mouseClick(opened.chart->viewport(), Qt::LeftButton, {}, opened.at(id));
    QCOMPARE(opened.tableSelection(), std::vector<qint64>{id});
    QCOMPARE(opened.page->selection(), std::vector<qint64>{id});
    QVERIFY(!opened.part<QLabel>("verdict")->text().isEmpty());

    opened.table->selectRow(opened.tableRow(12));
    QCOMPARE(opened.chart->selection(), std::vector<qint64>{12});
    QTest::mouseClick(opened.chart->viewport(), Qt::LeftButton, Qt::ControlModifier, opened.at(id));
    QCOMPARE(opened.tableSelection().size(), std::size_t(2));
    // Sorting moves rows, not the selection.
    opened.table->sortByColumn(ExperimentTableModel::FirstMetric, Qt::DescendingOrder);
    QCOMPARE(opened.tableSelection().size(), std::size_t(2));

    QSignalSpy activated(opened.page.get(), &ExplorePage::experimentActivated);
    QTest::mouseDClick(opened.chart->viewport(), Qt::LeftButton, {}, opened.at(id));
    QCOMPARE(activated.count(), 1);
    QCOMPARE(activated[0][0].toLongLong(), id);
    opened.table->setFocus();
    QTest::keyClick(opened.table, Qt::Key_Return);
    QCOMPARE(activated.count(), 2);
}

void TestExplorePage::brushesManyPoints() {
    Opened opened;
    const QRect plot = opened.chart->view().plot.toRect();
    const auto drag = [&](Qt::KeyboardModifiers modifiers) {
        QWidget* canvas = opened.chart->viewport();
        const QPoint from = plot.topLeft() + QPoint(2, 2);
        const QPoint to = plot.bottomRight() - QPoint(2, 2);
        QTest::mousePress(canvas, Qt::LeftButton, modifiers, from);
        for (const QPoint& point : {from + QPoint(30, 30), to}) {
            QMouseEvent move(QEvent::MouseMove, point, canvas->mapToGlobal(point), Qt::NoButton,
                             Qt::LeftButton, modifiers);
            QCoreApplication::sendEvent(canvas, &move);
        }
        QTest::mouseRelease(canvas, Qt::LeftButton, modifiers, to);
    };
    drag(Qt::ShiftModifier);
    QCOMPARE(opened.page->selection().size(), opened.chart->data().points.size());
    QCOMPARE(opened.tableSelection().size(), opened.chart->data().points.size());
    QVERIFY(!opened.chart->isZoomed());
    drag({});  // without Shift the view moves
    QVERIFY(opened.chart->isZoomed());
    opened.part<QPushButton>("resetView")->click();
    QVERIFY(!opened.chart->isZoomed());
    QTest::mouseClick(opened.chart->viewport(), Qt::LeftButton, {}, plot.topLeft() + QPoint(5, 5));
    QVERIFY(opened.page->selection().empty());
}

void TestExplorePage::drawsTheTrueFront() {
    Opened opened(test::syntheticExperiments(400));
    const TradeoffData& data = opened.chart->data();
    QVERIFY(data.points.size() > 300);
    int onFront = 0;
    for (const TradeoffPoint& point : data.points) {
        const bool eligible = point.kind == PointKind::Native;
        const bool beaten =
            std::any_of(data.points.begin(), data.points.end(), [&](const TradeoffPoint& other) {
                return other.kind == PointKind::Native && other.x >= point.x &&
                       other.y <= point.y && (other.x > point.x || other.y < point.y);
            });
        QCOMPARE(point.onFront, eligible && !beaten);
        onFront += point.onFront;
    }
    QCOMPARE(static_cast<std::size_t>(onFront), data.front.size());
    for (std::size_t i = 1; i < data.front.size(); ++i) {
        QVERIFY(data.points[data.front[i - 1]].x <= data.points[data.front[i]].x);
    }
}

void TestExplorePage::drawsTheFrontOfThreeMetrics() {
    Opened opened;
    const std::size_t ofTwo = opened.chart->data().front.size();
    auto* choice = opened.part<QComboBox>("frontMetric");
    QCOMPARE(choice->currentData().toString(), QString());
    QCOMPARE(choice->findData("parameters"), -1);  // neither direction is good
    choice->setCurrentIndex(choice->findData("weight_bytes"));
    const TradeoffData& data = opened.chart->data();
    QVERIFY(data.front.size() >= ofTwo);  // what was on the front of two stays, where it has all
    for (const std::size_t i : data.front) {
        for (const TradeoffPoint& other : data.points) {
            const auto asGood = [](double a, double b, BetterWhen better) {
                return better == BetterWhen::Higher ? a >= b : a <= b;
            };
            const TradeoffPoint& mine = data.points[i];
            const bool beats =
                other.kind == PointKind::Native && asGood(other.x, mine.x, data.xBetter) &&
                asGood(other.y, mine.y, data.yBetter) && other.third <= mine.third &&
                (other.x != mine.x || other.y != mine.y || other.third != mine.third);
            QVERIFY(!beats);
        }
    }
    opened.page->grab();
}

void TestExplorePage::separatesProtocols() {
    Opened opened;
    auto* protocol = opened.part<QComboBox>("yProtocol");
    QVERIFY(protocol->isVisible());
    QCOMPARE(protocol->count(), 2);
    QVERIFY(opened.part<QLabel>("protocolNote")->text().contains("3 not drawn"));
    const auto drawnOf = [&](const std::string& wanted) {
        for (const TradeoffPoint& point : opened.chart->data().points) {
            if (opened.service.experiment(point.id)->metrics.at("perplexity").protocol != wanted) {
                return false;
            }
        }
        return !opened.chart->data().points.empty();
    };
    QVERIFY(drawnOf(test::kPlain));
    protocol->setCurrentIndex(1);
    QVERIFY(drawnOf(test::kOther));
    QCOMPARE(opened.chart->data().points.size(), std::size_t(3));
    // Speeds have protocols of their own, chosen apart from the accuracy's.
    QVERIFY(!opened.part<QComboBox>("xProtocol")->isVisible());
    protocol->setCurrentIndex(0);
    for (const qint64 id : {2, 3}) {
        ExperimentRecord other = *opened.service.experiment(id);
        other.metrics["decode_tokens_per_s"].protocol = "speed prompt=512";
        opened.service.store(other);
    }
    QTRY_VERIFY(opened.part<QComboBox>("xProtocol")->isVisible());
    QVERIFY(opened.part<QLabel>("protocolNote")->text().contains("5 not drawn"));
    opened.part<QComboBox>("xProtocol")->setCurrentIndex(1);
    QCOMPARE(opened.chart->data().points.size(), std::size_t(2));
    QVERIFY(drawnOf(test::kPlain));
    opened.part<QComboBox>("xProtocol")->setCurrentIndex(0);
    // Sizes know no protocol: all are drawn together, and the choice goes away.
    auto* y = opened.part<QComboBox>("yMetric");
    y->setCurrentIndex(y->findData("weight_bytes"));
    QVERIFY(!protocol->isVisible());
    QCOMPARE(opened.chart->data().points.size(), std::size_t(35));
}

void TestExplorePage::leavesOutUnfinishedRuns() {
    auto records = test::syntheticExperiments(10);
    records[3].status = ExperimentStatus::Interrupted;  // has numbers from before it was stopped
    records[4].status = ExperimentStatus::Failed;
    Opened opened(records);
    QCOMPARE(opened.table->model()->rowCount(), 10);
    QCOMPARE(opened.chart->data().points.size(), std::size_t(8));
    QCOMPARE(opened.chart->data().unfinished, 2);
    QVERIFY(opened.tableRow(4) >= 0);
    QVERIFY(!opened.chart->pointPosition(4));
}

void TestExplorePage::hoverTellsEverything() {
    Opened opened;
    const qint64 id = lonelyPoint(opened);
    const ExperimentRecord record = *opened.service.experiment(id);
    QVERIFY(opened.chart->hoverText().isEmpty());
    QTest::mouseMove(opened.chart->viewport(), opened.at(id) + QPoint(1, 1));
    QTRY_VERIFY(!opened.chart->hoverText().isEmpty());
    const QString text = opened.chart->hoverText();
    for (const std::string& part :
         {record.name, record.modelName, record.recipe.steps[0].technique, record.device,
          formatMetric("perplexity", record.metrics.at("perplexity").value),
          formatMetric("decode_tokens_per_s", record.metrics.at("decode_tokens_per_s").value),
          formatMetric("weight_bytes", record.metrics.at("weight_bytes").value)}) {
        QVERIFY2(text.contains(QString::fromStdString(part).toHtmlEscaped()), part.c_str());
    }
    QVERIFY(text.contains(" to "));  // an interval
    QVERIFY(text.contains(record.metrics.at("decode_tokens_per_s").native ? "native"
                                                                          : "dequantization"));
    // A name with markup is shown, not obeyed.
    ExperimentRecord odd = record;
    odd.name = "<img src=x>";
    QVERIFY(hoverHtml(odd, nullptr, "#000").contains("&lt;img"));
}

void TestExplorePage::movesByKeyboard() {
    Opened opened;
    opened.chart->setFocus();
    std::vector<double> xs;
    QSet<qint64> reached;
    const std::size_t count = opened.chart->data().points.size();
    for (std::size_t i = 0; i < count; ++i) {
        QTest::keyClick(opened.chart, Qt::Key_Right);
        const qint64 id = opened.chart->currentId();
        reached.insert(id);
        xs.push_back(opened.service.experiment(id)->metrics.at("decode_tokens_per_s").value);
        QCOMPARE(opened.page->selection(), std::vector<qint64>{id});
    }
    QVERIFY(std::is_sorted(xs.begin(), xs.end()));
    QCOMPARE(reached.size(), static_cast<qsizetype>(count));
    QVERIFY(!opened.chart->hoverText().isEmpty());
    QSignalSpy activated(opened.page.get(), &ExplorePage::experimentActivated);
    QTest::keyClick(opened.chart, Qt::Key_Return);
    QCOMPARE(activated.count(), 1);
    QCOMPARE(activated[0][0].toLongLong(), opened.chart->currentId());
    const double before =
        opened.service.experiment(opened.chart->currentId())->metrics.at("perplexity").value;
    QTest::keyClick(opened.chart, Qt::Key_Up);
    QVERIFY(opened.service.experiment(opened.chart->currentId())->metrics.at("perplexity").value >=
            before);
    QTest::keyClick(opened.chart, Qt::Key_Escape);
    QVERIFY(opened.page->selection().empty());
}

void TestExplorePage::zoomsAroundTheCursorAndResets() {
    Opened opened;
    const qint64 id = lonelyPoint(opened);
    const QPointF at = *opened.chart->pointPosition(id);
    QWheelEvent turn(at, opened.chart->mapToGlobal(at), {}, QPoint(0, 240), Qt::NoButton, {},
                     Qt::NoScrollPhase, false);
    QCoreApplication::sendEvent(opened.chart->viewport(), &turn);
    QVERIFY(opened.chart->isZoomed());
    QVERIFY(QLineF(*opened.chart->pointPosition(id), at).length() < 0.01);
    // New results do not throw the view about.
    std::mt19937 random(1);
    opened.service.store(test::syntheticExperiment(77, random));
    QTRY_VERIFY(opened.chart->data().points.size() > 34);
    QVERIFY(QLineF(*opened.chart->pointPosition(id), at).length() < 0.5);
    QTest::mouseDClick(opened.chart->viewport(), Qt::LeftButton, {},
                       opened.chart->view().plot.topLeft().toPoint() + QPoint(4, 4));
    QVERIFY(!opened.chart->isZoomed());
}

void TestExplorePage::filtersChartAndTable() {
    Opened opened;
    auto* text = opened.part<QLineEdit>("textFilter");
    text->setText("prune");
    QVERIFY(opened.table->model()->rowCount() > 2);
    QVERIFY(opened.table->model()->rowCount() < 40);
    for (const TradeoffPoint& point : opened.chart->data().points) {
        QVERIFY(point.name.contains("prune"));
    }
    opened.part<QPushButton>("clearFilters")->click();
    QCOMPARE(opened.table->model()->rowCount(), 40);
    auto* technique = opened.part<QComboBox>("techniqueFilter");
    technique->setCurrentIndex(technique->findData("speculative"));
    for (const TradeoffPoint& point : opened.chart->data().points) {
        QCOMPARE(point.technique, "speculative");
    }
    // What is filtered out does not stay selected behind the user's back.
    opened.part<QPushButton>("clearFilters")->click();
    opened.page->select({1});
    technique->setCurrentIndex(technique->findData("speculative"));
    QVERIFY(opened.page->selection().empty());
}

void TestExplorePage::removesAndUndoes() {
    Opened opened;
    opened.page->select({3, 12});
    opened.part<QPushButton>("removeButton")->click();
    QCOMPARE(opened.table->model()->rowCount(), 38);
    QVERIFY(!opened.chart->pointPosition(12));
    QVERIFY(opened.page->selection().empty());
    auto* undo = opened.part<QPushButton>("undoButton");
    QVERIFY(undo->isVisible());
    undo->click();
    QCOMPARE(opened.table->model()->rowCount(), 40);
    QVERIFY(opened.chart->pointPosition(12).has_value());
    QVERIFY(!undo->isVisible());
    // By keyboard: Delete in the table, Ctrl+Z anywhere on the page.
    opened.page->select({5});
    opened.table->setFocus();
    QTest::keyClick(opened.table, Qt::Key_Delete);
    QCOMPARE(opened.table->model()->rowCount(), 39);
    QTest::keyClick(opened.table, Qt::Key_Z, Qt::ControlModifier);
    QCOMPARE(opened.table->model()->rowCount(), 40);
}

void TestExplorePage::renames() {
    Opened opened;
    opened.page->select({12});
    opened.part<QPushButton>("renameButton")->click();
    auto* edit = opened.part<QLineEdit>("renameEdit");
    QVERIFY(edit->isVisible());
    edit->setText("  my  best ");
    QTest::keyClick(edit, Qt::Key_Return);
    QCOMPARE(QString::fromStdString(opened.service.experiment(12)->name), "my best");
    QTRY_COMPARE(opened.part<QLabel>("detailName")->text(), "my best");
    QCOMPARE(opened.page->selection(), std::vector<qint64>{12});
    opened.part<QPushButton>("renameButton")->click();
    edit->setText("other");
    QTest::keyClick(edit, Qt::Key_Escape);
    QCOMPARE(QString::fromStdString(opened.service.experiment(12)->name), "my best");
}

void TestExplorePage::respectsReadOnly() {
    Opened opened;
    opened.service.locked = true;
    emit opened.service.experimentsReset();
    opened.page->select({12});
    for (const char* name : {"removeButton", "renameButton", "rerunButton"}) {
        QVERIFY2(!opened.part<QPushButton>(name)->isEnabled(), name);
    }
    QVERIFY(opened.part<QPushButton>("exportButton")->isEnabled());
    opened.table->setFocus();
    QTest::keyClick(opened.table, Qt::Key_Delete);
    QCOMPARE(opened.table->model()->rowCount(), 40);
}

void TestExplorePage::followsTheService() {
    Opened opened(test::syntheticExperiments(3));
    std::mt19937 random(9);
    ExperimentRecord running = test::syntheticExperiment(50, random);
    running.status = ExperimentStatus::Running;
    opened.service.store(running);
    QCOMPARE(opened.table->model()->rowCount(), 4);
    opened.page->select({50});
    running.status = ExperimentStatus::Finished;
    opened.service.store(running);
    QTRY_COMPARE(opened.chart->data().points.size(), std::size_t(4));
    QCOMPARE(opened.page->selection(), std::vector<qint64>{50});
    QTRY_VERIFY(opened.part<QPushButton>("exportButton")->isEnabled());
    QSignalSpy exported(opened.page.get(), &ExplorePage::exportRequested);
    QSignalSpy rerun(opened.page.get(), &ExplorePage::rerunRequested);
    opened.part<QPushButton>("exportButton")->click();
    opened.part<QPushButton>("rerunButton")->click();
    QCOMPARE(exported.value(0).value(0).toLongLong(), 50);
    QCOMPARE(rerun.value(0).value(0).toLongLong(), 50);
}

void TestExplorePage::comparesSeveral() {
    Opened opened;
    std::vector<qint64> asked;
    connect(opened.page.get(), &ExplorePage::compareRequested, this,
            [&](const std::vector<qint64>& ids) { asked = ids; });
    opened.page->select({2, 12, 28});
    auto* button = opened.part<QPushButton>("compareButton");
    QVERIFY(button->isVisible() && button->isEnabled());
    button->click();
    QCOMPARE(asked, (std::vector<qint64>{2, 12, 28}));
    // All three share model, device and seed: a setting that does not differ is not listed.
    const QString body = opened.part<QLabel>("detailBody")->text();
    QVERIFY(body.contains("step 1"));
    QVERIFY(!body.contains(">seed<") && !body.contains(">device<"));
    opened.page->select({2, 3, 4, 5, 7});
    QVERIFY(!button->isEnabled());
}

void TestExplorePage::leadsToTheAllocation() {
    std::vector<ExperimentRecord> records = test::syntheticGallery();
    const auto scored = std::find_if(records.begin(), records.end(), [](const auto& record) {
        return record.status == ExperimentStatus::Finished && !record.isBaseline();
    });
    scored->metrics["mixed_weights"] = {"mixed_weights", 1e6, "", {}, {}, true, false, ""};
    const qint64 id = scored->id;
    const qint64 other = (scored + 1)->id;
    Opened opened(records);
    auto* button = opened.part<QPushButton>("allocateButton");
    opened.page->select({other});
    QVERIFY(!button->isVisible());
    opened.page->select({id});
    QVERIFY(button->isVisible());
    QSignalSpy asked(opened.page.get(), &ExplorePage::allocationRequested);
    QTest::mouseClick(button, Qt::LeftButton);
    QCOMPARE(asked.size(), 1);
    QCOMPARE(asked.front().front().toLongLong(), id);
    opened.page->select({id, other});
    QVERIFY(!button->isVisible());
}

void TestExplorePage::fillsTheTable() {
    Opened opened;
    opened.page->resize(2600, 900);
    QTRY_COMPARE(opened.table->horizontalHeader()->length(), opened.table->viewport()->width());
    opened.page->resize(1280, 800);
    QTRY_VERIFY(opened.table->columnWidth(ExperimentTableModel::Name) < 600);
}

void TestExplorePage::copiesCsv() {
    Opened opened;
    opened.page->select({2, 12});
    emit opened.page->findChild<ExploreDetailPanel*>()->copyCsvRequested();
    const QString csv = QGuiApplication::clipboard()->text();
    QCOMPARE(csv.count('\n'), 3);
    QVERIFY(csv.startsWith("id,name,recipe"));
    emit opened.page->findChild<ExploreDetailPanel*>()->copyImageRequested();
    QCOMPARE(QGuiApplication::clipboard()->image().width(), opened.chart->width() * 2);
    emit opened.page->findChild<ExploreDetailPanel*>()->copySvgRequested();
    const QMimeData* copied = QGuiApplication::clipboard()->mimeData();
    QVERIFY(copied->hasFormat("image/svg+xml"));
    QVERIFY(copied->data("image/svg+xml").contains("</svg>"));
}

void TestExplorePage::keepsItsViewState() {
    {
        Opened opened;
        auto* y = opened.part<QComboBox>("yMetric");
        y->setCurrentIndex(y->findData("kl_mean"));
        opened.page->findChild<ExploreAxisBar*>()->setLog(true, false);
    }
    Opened again;
    QCOMPARE(again.chart->data().query.y, "kl_mean");
    QCOMPARE(again.chart->data().query.x, "decode_tokens_per_s");
    QVERIFY(again.chart->logarithmicX());
    QVERIFY(!again.chart->logarithmicY());
}

void TestExplorePage::showsEmptyStates() {
    Opened opened(std::vector<ExperimentRecord>{});
    QVERIFY(!opened.chart->isVisible());
    const auto shows = [&](const QString& words) {
        const auto labels = opened.page->findChildren<QLabel*>();
        return std::any_of(labels.begin(), labels.end(),
                           [&](QLabel* l) { return l->isVisible() && l->text().contains(words); });
    };
    QVERIFY(shows("No experiments yet"));
    std::mt19937 random(2);
    opened.service.store(test::syntheticExperiment(1, random));
    QTRY_VERIFY(opened.chart->isVisible());
    QCOMPARE(opened.chart->data().query.x, "decode_tokens_per_s");
    opened.part<QLineEdit>("textFilter")->setText("no such thing");
    QVERIFY(!opened.chart->isVisible());
    QVERIFY(shows("All experiments are filtered out"));
    opened.part<QPushButton>("clearFilters")->click();
    QVERIFY(opened.chart->isVisible());
    ExperimentRecord lean = *opened.service.experiment(1);
    lean.metrics.erase("perplexity");
    opened.service.store(lean);
    auto* x = opened.part<QComboBox>("xMetric");
    QTRY_COMPARE(x->findData("perplexity"), -1);
}

void TestExplorePage::logAxesLeaveOutZero() {
    auto records = test::syntheticExperiments(12);
    test::put(records[0], test::measured("kl_mean", 0, 0, test::kPlain));
    Opened opened(records);
    auto* y = opened.part<QComboBox>("yMetric");
    y->setCurrentIndex(y->findData("kl_mean"));
    QVERIFY(opened.chart->pointPosition(1).has_value());
    opened.page->findChild<ExploreAxisBar*>()->setLog(false, true);
    QVERIFY(!opened.chart->pointPosition(1));
    QCOMPARE(opened.chart->offScale(), 1);
    QVERIFY(opened.chart->grab().width() > 0);
}

void TestExplorePage::tenThousandOpenInASecond() {
    test::FakeService service;
    service.records = test::syntheticExperiments(10000);
    // Processor time: what opening costs, whatever else the machine is doing.
    const auto milliseconds = [start = std::clock()]() {
        return 1000 * (std::clock() - start) / CLOCKS_PER_SEC;
    };
    ExplorePage page(&service);
    page.resize(1280, 800);
    page.show();
    const QPixmap drawn = page.grab();
    const qint64 opened = milliseconds();
    auto* chart = page.findChild<TradeoffChart*>();
    std::vector<qint64> half;
    for (qint64 id = 1; id <= 10000; id += 2) {
        half.push_back(id);
    }
    page.select(half);
    const qint64 selected = milliseconds() - opened;
    QImage target(chart->size(), QImage::Format_ARGB32_Premultiplied);
    std::vector<std::clock_t> frames;
    for (int i = 0; i < 25; ++i) {
        chart->pan(QPointF(i % 2 ? 7 : -7, 3));
        const std::clock_t start = std::clock();
        chart->QWidget::render(&target);
        frames.push_back(1000000 * (std::clock() - start) / CLOCKS_PER_SEC);
    }
    std::nth_element(frames.begin(), frames.begin() + 12, frames.end());
    qInfo(
        "10,000 experiments: opened and drawn in %lld ms, 5,000 selected in %lld ms, pan frame "
        "%.1f ms",
        opened, selected, static_cast<double>(frames[12]) / 1000);
    QVERIFY(!drawn.isNull());
    QVERIFY2(opened < 1000, "opening and drawing 10,000 experiments must take under a second");
}

QTEST_MAIN(TestExplorePage)
#include "tst_explore_page.moc"
