// The library: its tree, what may enter it, dropping files, inspecting a model.
#include <QAbstractItemModelTester>
#include <QDir>
#include <QDropEvent>
#include <QFile>
#include <QMimeData>
#include <QPushButton>
#include <QSignalSpy>
#include <QTabWidget>
#include <QTableView>
#include <QTemporaryDir>
#include <QTreeView>
#include <QUrl>
#include <QtTest>

#include "tests/support/window_fixture.h"
#include "ui/charts/layer_heat_map.h"
#include "ui/charts/tree_map.h"
#include "ui/models/library_model.h"
#include "ui/models/recipe_model.h"
#include "ui/models/tensor_table_model.h"
#include "ui/pages/library_page.h"
#include "ui/pages/model_layers.h"
#include "ui/pages/model_view.h"
#include "ui/pages/recipe_page.h"
#include "ui/widgets/histogram_view.h"

using namespace fettle;
using namespace fettle::ui;

class LibraryTest : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() {
        test::prepareGuiTest();
        write(QStringLiteral("text.txt"), "Once upon a time");
        write(QStringLiteral("tasks.jsonl"),
              "{\"prompt\":\"a\",\"choices\":[\"b\",\"c\"],\"answer\":0}\n");
        write(QStringLiteral("odd.jsonl"), "{\"prompt\":\"a\"}\n");
        write(QStringLiteral("good.gguf"), "GGUF....");
        write(QStringLiteral("bad.gguf"), "nope");
        write(QStringLiteral("part.safetensors"), "x");
        write(QStringLiteral("empty.txt"), "");
        write(QStringLiteral("binary.bin"), QByteArray("ab\0cd", 5));
        QDir(m_folder.path()).mkpath(QStringLiteral("model"));
        write(QStringLiteral("model/config.json"), "{}");
        write(QStringLiteral("model/model.safetensors"), "x");
        QDir(m_folder.path()).mkpath(QStringLiteral("nothing"));
    }

    void theTreeKeepsItsPromises() {
        LibraryModel model;
        QAbstractItemModelTester tester(&model,
                                        QAbstractItemModelTester::FailureReportingMode::QtTest);
        test::FakeExperimentService service;
        model.setItems(service.items);
        QCOMPARE(model.rowCount(), 3);
        QCOMPARE(model.rowCount(model.section(LibraryItem::Kind::Model)), 1);
        QCOMPARE(model.indexOfPath(QStringLiteral("demo")).data().toString(),
                 QStringLiteral("Demo model"));
        model.setItems({});
        QCOMPARE(model.rowCount(model.section(LibraryItem::Kind::Model)), 0);
    }

    void pathsAreRecognized_data() {
        QTest::addColumn<QString>("name");
        QTest::addColumn<int>("kind");
        QTest::addColumn<QString>("cause");
        const int model = static_cast<int>(LibraryItem::Kind::Model);
        QTest::newRow("folder") << "model" << model << "";
        QTest::newRow("gguf") << "good.gguf" << model << "";
        QTest::newRow("text") << "text.txt" << static_cast<int>(LibraryItem::Kind::Text) << "";
        QTest::newRow("tasks") << "tasks.jsonl" << static_cast<int>(LibraryItem::Kind::Tasks) << "";
        QTest::newRow("no gguf") << "bad.gguf" << -1 << "GGUF";
        QTest::newRow("no tasks") << "odd.jsonl" << -1 << "choices";
        QTest::newRow("no model") << "nothing" << -1 << "config.json";
        QTest::newRow("a part") << "part.safetensors" << -1 << "folder";
        QTest::newRow("empty") << "empty.txt" << -1 << "empty";
        QTest::newRow("binary") << "binary.bin" << -1 << "neither";
        QTest::newRow("absent") << "absent" << -1 << "does not exist";
    }
    void pathsAreRecognized() {
        QFETCH(QString, name);
        QFETCH(int, kind);
        QFETCH(QString, cause);
        const QString path = m_folder.filePath(name);
        const PathClass found = classifyPath(path);
        QCOMPARE(found.kind ? static_cast<int>(*found.kind) : -1, kind);
        if (kind < 0) {
            QVERIFY2(found.error.contains(path) && found.error.contains(cause),
                     qPrintable(found.error));
        }
    }

    void aDroppedTextEntersTheLibrary_data() {
        QTest::addColumn<bool>("ontoWindow");
        QTest::newRow("onto the dock") << false;
        QTest::newRow("onto the window") << true;
    }
    void aDroppedTextEntersTheLibrary() {
        QFETCH(bool, ontoWindow);
        test::WindowFixture fixture;
        fixture.show();
        QWidget* target =
            ontoWindow ? static_cast<QWidget*>(fixture.window.get()) : fixture.window->library();
        drop(target, QStringLiteral("text.txt"));
        QCOMPARE(fixture.service.items.back().path, m_folder.filePath(QStringLiteral("text.txt")));
        QVERIFY(fixture.service.items.back().kind == LibraryItem::Kind::Text);
        QCOMPARE(fixture.window->library()
                     ->view()
                     ->currentIndex()
                     .data(LibraryModel::PathRole)
                     .toString(),
                 m_folder.filePath(QStringLiteral("text.txt")));
    }

    void aDroppedModelIsReadFirst() {
        test::WindowFixture fixture;
        fixture.show();
        const std::size_t before = fixture.service.items.size();
        drop(fixture.window->library(), QStringLiteral("model"));
        QCOMPARE(fixture.service.items.size(), before);
        const auto asked = fixture.engine.of<InspectRequest>();
        QCOMPARE(QString::fromStdString(asked.back().second.path),
                 m_folder.filePath(QStringLiteral("model")));
        fixture.engine.send(asked.back().first,
                            JobFinished{test::smallReport(asked.back().second.path)});
        QCOMPARE(fixture.service.items.size(), before + 1);
        QVERIFY(fixture.service.items.back().detail.contains(QStringLiteral("llama")));
    }

    void aModelThatCannotBeReadIsAMessage() {
        test::WindowFixture fixture;
        fixture.show();
        const std::size_t before = fixture.service.items.size();
        drop(fixture.window->library(), QStringLiteral("model"));
        const JobId job = fixture.engine.of<InspectRequest>().back().first;
        fixture.engine.send(job,
                            JobFailed{{ErrorKind::BadInput, "/m/config.json: no \"hidden_size\""}});
        QCOMPARE(fixture.service.items.size(), before);
        QVERIFY(fixture.window->messages()->newest().contains(QStringLiteral("/m/config.json")));
        QVERIFY(fixture.window->isVisible());
    }

    void inspectShowsTensorsAndHistogram() {
        test::WindowFixture fixture;
        fixture.show();
        fixture.window->inspect(QStringLiteral("demo"));
        const JobId job = fixture.engine.of<InspectRequest>().back().first;
        fixture.engine.send(job, JobFinished{test::smallReport("demo")});
        ModelView* view = fixture.window->modelView();
        QCOMPARE(view->table()->model()->rowCount(), 3);
        QTRY_VERIFY(!fixture.engine.of<HistogramRequest>().empty());
        TensorHistogram histogram;
        histogram.tensor = "embed";
        histogram.minimum = -1;
        histogram.maximum = 1;
        histogram.bins = {1, 5, 9, 5, 1};
        fixture.engine.send(fixture.engine.of<HistogramRequest>().back().first,
                            JobFinished{histogram});
        QVERIFY(view->histogram()->hasHistogram());
    }

    void aTensorIsLeftAloneInTheRecipe() {
        test::WindowFixture fixture;
        fixture.show();
        fixture.window->inspect(QStringLiteral("demo"));
        ModelReport report = test::smallReport("demo");
        report.tensors[0].weights = {"layers.10.attn.q.weight", "layers.10.attn.k.weight"};
        fixture.engine.send(fixture.engine.of<InspectRequest>().back().first, JobFinished{report});
        ModelView* view = fixture.window->modelView();
        view->chooseTensor(QStringLiteral("embed"));
        QVERIFY(!view->excludeButton()->isEnabled());  // it belongs to no weight that a step takes
        // By layer: the columns are layers 2 and 10 and what lies outside.
        view->views()->setCurrentWidget(view->layers());
        LayerHeatMap* map = view->layers()->map();
        QCOMPARE(map->grid().layers, (std::vector<int>{2, 10, -1}));
        const int row = static_cast<int>(map->grid().rows.indexOf("w"));
        QTest::mouseClick(map, Qt::LeftButton, {}, map->cellRect(row, 1).center());
        QVERIFY(view->excludeButton()->isEnabled());
        RecipeModel* recipe = fixture.window->recipe()->model();
        QTest::mouseClick(view->excludeButton(), Qt::LeftButton);
        QCOMPARE(recipe->rowCount(), 0);
        QCOMPARE(fixture.window->messages()->count(), 1);  // says that no step can take it
        recipe->addStep("ptq");
        QTest::mouseClick(view->excludeButton(), Qt::LeftButton);
        QTest::mouseClick(view->excludeButton(), Qt::LeftButton);  // once is enough
        QCOMPARE(recipe->effectiveParams(0).at("exclude"),
                 nlohmann::json({"layers.10.attn.q.weight", "layers.10.attn.k.weight"}));
        recipe->undoStack()->undo();
        QVERIFY(recipe->effectiveParams(0).at("exclude").empty());
    }

    void memoryIsDrawnAsAreas() {
        const std::vector<double> sizes{6, 6, 4, 3, 2, 2, 1};
        const QRectF area(10, 20, 600, 400);
        const std::vector<QRectF> places = squarified(sizes, area);
        QCOMPARE(places.size(), sizes.size());
        for (std::size_t i = 0; i < sizes.size(); ++i) {
            QVERIFY(std::abs(places[i].width() * places[i].height() - sizes[i] / 24 * 240000) < 1);
            QVERIFY(area.adjusted(-0.1, -0.1, 0.1, 0.1).contains(places[i]));
            for (std::size_t j = 0; j < i; ++j) {
                const QRectF both = places[i].intersected(places[j]);
                QVERIFY(both.width() * both.height() < 1);
            }
        }
        TreeMap map;
        map.resize(400, 300);
        map.setItems({{"a", "a", "Layer 0", "<b>a</b>", 30, 1},
                      {"b", "b", "Layer 1", "<b>b</b>", 60, 2},
                      {"c", "c", "Layer 0", "<b>c</b>", 10, 3}});
        QSignalSpy chosen(&map, &TreeMap::activated);
        QTest::mouseClick(&map, Qt::LeftButton, {}, map.itemRect(0).center().toPoint());
        QCOMPARE(chosen.back().front().toString(), QStringLiteral("b"));  // the largest is first
        QTest::keyClick(&map, Qt::Key_Right);
        QCOMPARE(map.hoverText(), QStringLiteral("<b>a</b>"));
        QTest::keyClick(&map, Qt::Key_Return);
        QCOMPARE(chosen.back().front().toString(), QStringLiteral("a"));
        map.setItems({});
        QTest::keyClick(&map, Qt::Key_Right);
        QCOMPARE(map.count(), 0);
    }

    void tensorsSortAsPeopleCountAndFilter() {
        TensorTableModel model;
        QAbstractItemModelTester tester(&model,
                                        QAbstractItemModelTester::FailureReportingMode::QtTest);
        model.setTensors(test::smallReport("x").tensors);
        TensorFilterModel filtered;
        filtered.setSourceModel(&model);
        filtered.sort(TensorTableModel::Name);
        QCOMPARE(filtered.index(1, 0).data().toString(), QStringLiteral("layers.2.w"));
        QCOMPARE(filtered.index(2, 0).data().toString(), QStringLiteral("layers.10.w"));
        filtered.sort(TensorTableModel::Size, Qt::DescendingOrder);
        QCOMPARE(filtered.index(0, 0).data().toString(), QStringLiteral("embed"));
        filtered.setWords(QStringLiteral("layers bf16"));
        QCOMPARE(filtered.rowCount(), 1);
    }

private:
    void write(const QString& name, const QByteArray& content) {
        QFile file(m_folder.filePath(name));
        QVERIFY(file.open(QIODevice::WriteOnly));
        file.write(content);
    }
    void drop(QWidget* target, const QString& name) {
        QMimeData mime;
        mime.setUrls({QUrl::fromLocalFile(m_folder.filePath(name))});
        QDragEnterEvent enter(QPoint(10, 10), Qt::CopyAction, &mime, Qt::LeftButton,
                              Qt::NoModifier);
        QCoreApplication::sendEvent(target, &enter);
        QVERIFY(enter.isAccepted());
        QDropEvent event(QPointF(10, 10), Qt::CopyAction, &mime, Qt::LeftButton, Qt::NoModifier);
        QCoreApplication::sendEvent(target, &event);
    }

    QTemporaryDir m_folder;
};

QTEST_MAIN(LibraryTest)
#include "tst_library.moc"
