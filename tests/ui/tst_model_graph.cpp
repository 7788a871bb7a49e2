// The model as a graph: its blocks and operations, metrics in them, folding, and what a click does
// to the recipe.
#include <QComboBox>
#include <QMenu>
#include <QSignalSpy>
#include <QTabWidget>
#include <QtTest>
#include <cmath>

#include "tests/support/window_fixture.h"
#include "ui/charts/model_graph.h"
#include "ui/models/recipe_marks.h"
#include "ui/models/recipe_model.h"
#include "ui/pages/model_layers.h"
#include "ui/pages/model_view.h"
#include "ui/pages/recipe_page.h"

using namespace fettle;
using namespace fettle::ui;

namespace {

TensorReport tensor(const std::string& file, std::vector<std::string> weights,
                    std::vector<std::int64_t> shape) {
    std::uint64_t bytes = 2;
    for (const std::int64_t size : shape) {
        bytes *= static_cast<std::uint64_t>(size);
    }
    return {file, "BF16", std::move(shape), bytes, 16, std::move(weights)};
}

/// Two layers as Llama has them.
ModelReport twoLayers() {
    ModelReport report = test::smallReport("demo");
    report.tensors = {tensor("lm_head.weight", {"lm_head.weight"}, {100, 8}),
                      tensor("model.embed_tokens.weight", {"embed.weight"}, {100, 8}),
                      tensor("model.norm.weight", {"final_norm.weight"}, {8})};
    for (int layer = 0; layer < 2; ++layer) {
        const std::string file = "model.layers." + std::to_string(layer) + ".";
        const std::string name = "layers." + std::to_string(layer) + ".";
        const auto add = [&](const char* in, const char* canonical,
                             std::vector<std::int64_t> shape) {
            report.tensors.push_back(tensor(file + in, {name + canonical}, std::move(shape)));
        };
        add("mlp.down_proj.weight", "ffn.down.weight", {8, 32});
        add("mlp.gate_proj.weight", "ffn.gate.weight", {32, 8});
        add("mlp.up_proj.weight", "ffn.up.weight", {32, 8});
        add("input_layernorm.weight", "attn_norm.weight", {8});
        add("post_attention_layernorm.weight", "ffn_norm.weight", {8});
        add("self_attn.k_proj.weight", "attn.k.weight", {4, 8});
        add("self_attn.o_proj.weight", "attn.o.weight", {8, 8});
        add("self_attn.q_proj.weight", "attn.q.weight", {8, 8});
        add("self_attn.v_proj.weight", "attn.v.weight", {4, 8});
    }
    return report;
}

QStringList titles(const BlockGraph& graph) {
    QStringList texts;
    for (const BlockNode& node : graph.nodes) {
        texts << node.title;
    }
    return texts;
}

std::size_t nodeOf(const BlockGraph& graph, const QString& title) {
    return static_cast<std::size_t>(titles(graph).indexOf(title));
}

void addParameter(std::vector<ParameterSchema>& parameters, const char* name,
                  nlohmann::json value) {
    ParameterSchema schema;
    schema.name = name;
    schema.type = value.is_array() ? ParameterType::PatternList : ParameterType::Text;
    schema.defaultValue = std::move(value);
    parameters.push_back(std::move(schema));
}

/// ptq that takes schemes, and prune.
std::vector<TechniqueDescriptor> pinnableTechniques() {
    std::vector<TechniqueDescriptor> techniques{test::everyParameterType()};
    addParameter(techniques[0].parameters, "schemes", nlohmann::json::array());
    TechniqueDescriptor prune;
    prune.id = "prune";
    prune.title = "Pruning";
    addParameter(prune.parameters, "method", "width");
    addParameter(prune.parameters, "drop", nlohmann::json::array());
    techniques.push_back(prune);
    return techniques;
}

QAction* actionOf(QMenu* menu, const QString& text) {
    for (QAction* action : menu->actions()) {
        if (action->text().contains(text)) {
            return action;
        }
        if (action->menu()) {
            if (QAction* inside = actionOf(action->menu(), text)) {
                return inside;
            }
        }
    }
    return nullptr;
}

/// The window with the model shown as a graph, over techniques that pin and prune.
struct GraphFixture : test::WindowFixture {
    GraphFixture() {
        engine.setTechniques(pinnableTechniques());
        window = std::make_unique<MainWindow>(jobs.get());
        show();
        window->inspect(QStringLiteral("demo"));
        engine.send(engine.of<InspectRequest>().back().first, JobFinished{twoLayers()});
        view = window->modelView();
        view->views()->setCurrentWidget(view->layers());
        graph = view->layers()->graph();
    }
    ModelView* view = nullptr;
    ModelGraph* graph = nullptr;
};

}  // namespace

class ModelGraphTest : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { test::prepareGuiTest(); }

    void blocksUnfoldToOperations() {
        const ModelReport report = twoLayers();
        const BlockGraph folded = blockGraph(report, {});
        QCOMPARE(titles(folded),
                 (QStringList{"embed", "Layer 0", "Layer 1", "final_norm", "lm_head"}));
        QCOMPARE(folded.edges.size(), std::size_t{4});
        const BlockGraph open = blockGraph(report, {1});
        QCOMPARE(titles(open),
                 (QStringList{"embed", "Layer 0", "Layer 1", "attn_norm", "attn.q", "attn.k",
                              "attn.v", "attention", "attn.o", "+", "ffn_norm", "ffn.gate",
                              "ffn.up", "activation", "ffn.down", "+", "final_norm", "lm_head"}));
        // q, k and v stand side by side, and all three lead into the attention.
        const std::size_t q = nodeOf(open, "attn.q");
        QCOMPARE(open.nodes[q].row, open.nodes[q + 2].row);
        QCOMPARE(open.nodes[q].columns, 3);
        const auto into = [&](const QString& title, bool bypass) {
            return std::count_if(open.edges.begin(), open.edges.end(), [&](const BlockEdge& e) {
                return open.nodes[e.to].title == title && e.bypass == bypass;
            });
        };
        QCOMPARE(into("attention", false), 3);
        QCOMPARE(into("+", true), 2);  // what went past attention and feed-forward
        // Every tensor is in exactly one node that is no block.
        std::vector<int> count(report.tensors.size(), 0);
        for (const BlockNode& node : open.nodes) {
            if (node.kind != BlockNode::Kind::Block || node.layer == 0) {
                for (const std::size_t at : node.tensors) {
                    ++count[at];
                }
            }
        }
        QVERIFY(std::all_of(count.begin(), count.end(), [](int n) { return n == 1; }));
    }

    void fusedAndUnknownTensorsAreShown() {
        ModelReport report = test::smallReport("x");
        report.tensors = {
            tensor("h.0.attn.c_attn.weight",
                   {"layers.0.attn.q.weight", "layers.0.attn.k.weight", "layers.0.attn.v.weight"},
                   {24, 8}),
            tensor("h.0.mystery", {}, {8})};
        const BlockGraph graph = blockGraph(report, {0});
        QCOMPARE(titles(graph),
                 (QStringList{"Layer 0", "attn.q + attn.k + attn.v", "attention", "+", "mystery"}));
        QVERIFY(blockGraph(ModelReport{}, {}).nodes.empty());
    }

    void metricsAddUpOrTellTheWorst() {
        const ModelReport report = twoLayers();
        BlockGraph graph = blockGraph(report, {});
        std::vector<LayerMetric> metrics;
        for (const TensorReport& one : report.tensors) {
            metrics.push_back({0, one.name, "bytes", static_cast<double>(one.bytes)});
        }
        setGraphMetric(graph, report, metrics, "bytes");
        const std::size_t layer = nodeOf(graph, "Layer 1");
        QCOMPARE(graph.nodes[layer].value, 2.0 * (3 * 256 + 2 * 8 + 2 * 64 + 2 * 32));
        setGraphMetric(graph, report,
                       {{1, "layers.1.attn.q.weight", "relative_output_error", 0.2},
                        {1, "layers.1.ffn.up.weight", "relative_output_error", 0.7}},
                       "relative_output_error");
        QCOMPARE(graph.nodes[layer].value, 0.7);
        QCOMPARE(graph.nodes[layer].valueOf, QStringLiteral("layers.1.ffn.up.weight"));
        QVERIFY(std::isnan(graph.nodes[nodeOf(graph, "Layer 0")].value));
        setGraphMetric(graph, report,
                       {{1, "layers.1.attn.q.weight", "sqnr_db", 12},
                        {1, "layers.1.ffn.up.weight", "sqnr_db", 30}},
                       "sqnr_db");
        QCOMPARE(graph.nodes[layer].value, 12.0);  // large is good: the worst is the smallest
        setGraphMetric(graph, report,
                       {{1, "layers.1.attn.q.weight", "sparsity", 50},
                        {1, "layers.1.ffn.up.weight", "sparsity", 0}},
                       "sparsity");
        QCOMPARE(graph.nodes[layer].value, 50.0 * 64 / (64 + 256));
        setGraphMetric(graph, report, {{1, "layers.1", "loss_increase", 0.4}}, "loss_increase");
        QCOMPARE(graph.nodes[layer].value, 0.4);
    }

    void keysAndMouseFoldAndTell() {
        ModelGraph graph;
        graph.resize(600, 400);
        graph.setReport(twoLayers());
        graph.show();
        QTest::keyClick(&graph, Qt::Key_Home);
        QTest::keyClick(&graph, Qt::Key_Down);
        QVERIFY2(graph.hoverText().contains("Layer 0"), qPrintable(graph.hoverText()));
        QTest::keyClick(&graph, Qt::Key_Right);
        QVERIFY(graph.isOpen(0));
        QTest::keyClick(&graph, Qt::Key_Down);
        QVERIFY2(graph.hoverText().contains("attn_norm"), qPrintable(graph.hoverText()));
        QTest::keyClick(&graph, Qt::Key_Left);  // folds the layer around it
        QVERIFY(!graph.isOpen(0));
        const std::size_t block = nodeOf(graph.graph(), "Layer 1");
        QTest::mouseClick(graph.viewport(), Qt::LeftButton, {}, graph.foldRect(block).center());
        QVERIFY(graph.isOpen(1));
        QSignalSpy activated(&graph, &ModelGraph::nodeActivated);
        QTest::mouseClick(graph.viewport(), Qt::LeftButton, {},
                          graph.nodeRect(nodeOf(graph.graph(), "attn_norm")).center());
        QCOMPARE(activated.size(), 1);
        QTest::keyClick(&graph, Qt::Key_End);
        QTest::keyClick(&graph, Qt::Key_Return);
        QCOMPARE(activated.size(), 2);
        QVERIFY(graph.viewport()->rect().intersects(
            graph.nodeRect(static_cast<std::size_t>(graph.current()))));  // scrolled to
        graph.setReport(ModelReport{});
        QTest::keyClick(&graph, Qt::Key_Down);
        graph.grab();
    }

    void aClickPinsASchemeInTheRecipe() {
        GraphFixture fixture;
        fixture.graph->setOpen(0, true);
        const std::size_t q = nodeOf(fixture.graph->graph(), "attn.q");
        emit fixture.graph->nodeActivated(q, QPoint(10, 10));
        QAction* pin = actionOf(fixture.view->menu(), "int4-g32");
        QVERIFY(pin);
        pin->trigger();
        RecipeModel* recipe = fixture.window->recipe()->model();
        QCOMPARE(recipe->rowCount(), 1);  // there was no step that could take it
        QCOMPARE(recipe->effectiveParams(0).at("schemes"),
                 nlohmann::json({"layers.0.attn.q.weight=int4-g32"}));
        QCOMPARE(fixture.graph->marksOf(q), QStringList{"int4-g32"});
        // Another scheme replaces it, no pin takes it away, undo brings it back.
        emit fixture.graph->nodeActivated(q, QPoint(10, 10));
        actionOf(fixture.view->menu(), "Leave as it is")->trigger();
        QCOMPARE(fixture.graph->marksOf(q), QStringList{"left alone"});
        emit fixture.graph->nodeActivated(q, QPoint(10, 10));
        actionOf(fixture.view->menu(), "No pin")->trigger();
        QVERIFY(fixture.graph->marksOf(q).isEmpty());
        recipe->undoStack()->undo();
        QVERIFY(!fixture.graph->marksOf(q).isEmpty());
        // A block pins its weights, not its norms.
        const std::size_t block = nodeOf(fixture.graph->graph(), "Layer 1");
        emit fixture.graph->nodeActivated(block, QPoint(10, 10));
        actionOf(fixture.view->menu(), "int8")->trigger();
        QCOMPARE(recipe->effectiveParams(0).at("schemes").size(), std::size_t{7 + 1});
        emit fixture.graph->nodeActivated(block, QPoint(10, 10));
        actionOf(fixture.view->menu(), "Leave alone")->trigger();
        QCOMPARE(recipe->effectiveParams(0).at("exclude").size(), std::size_t{7});
    }

    void aClickTakesALayerOut() {
        GraphFixture fixture;
        RecipeModel* recipe = fixture.window->recipe()->model();
        recipe->addStep("ptq");
        const std::size_t block = nodeOf(fixture.graph->graph(), "Layer 1");
        emit fixture.graph->nodeActivated(block, QPoint(10, 10));
        actionOf(fixture.view->menu(), "take this layer out")->trigger();
        QCOMPARE(recipe->rowCount(), 2);
        QCOMPARE(recipe->recipe().steps[0].technique, std::string("prune"));
        QCOMPARE(recipe->effectiveParams(0).at("method"), nlohmann::json("layers"));
        QCOMPARE(recipe->effectiveParams(0).at("drop"), nlohmann::json({"1"}));
        QCOMPARE(fixture.graph->marksOf(block), QStringList{"taken out"});
        recipe->undoStack()->undo();
        QCOMPARE(recipe->rowCount(), 1);
        recipe->undoStack()->redo();
        emit fixture.graph->nodeActivated(block, QPoint(10, 10));
        actionOf(fixture.view->menu(), "Put this layer back")->trigger();
        QVERIFY(recipe->effectiveParams(0).at("drop").empty());
    }

    void runsThatFinishAreOfferedAsValues() {
        GraphFixture fixture;
        QComboBox* source = fixture.view->layers()->sourceChoice();
        QCOMPARE(source->count(), 1);
        ExperimentDetail detail;
        detail.record.id = 7;
        detail.record.name = "a run";
        detail.record.modelPath = "demo";
        detail.record.device = "Test processor";
        detail.record.status = ExperimentStatus::Finished;
        detail.record.recipe.steps = {{"ptq", {{"scheme", "int8"}}}};
        for (const auto& [name, value] :
             {std::pair("decode_tokens_per_s", 1000.0), {"weight_bytes", 1e6}}) {
            detail.record.metrics[name].name = name;
            detail.record.metrics[name].value = value;
        }
        detail.layerMetrics = {{0, "layers.0.attn.q.weight", "relative_output_error", 0.25}};
        fixture.service.details[7] = detail;
        fixture.service.records.push_back(detail.record);
        emit fixture.service.experimentChanged(7);
        QTRY_COMPARE(source->count(), 2);
        QCOMPARE(source->currentIndex(), 0);  // what is shown stays
        // Time per token follows from the speed that was measured.
        QComboBox* metric = fixture.view->layers()->metricChoice();
        metric->setCurrentIndex(metric->findData("predicted_us"));
        const BlockGraph& graph = fixture.graph->graph();
        QCOMPARE(graph.nodes[nodeOf(graph, "Layer 1")].value,
                 2.0 * (3 * 256 + 2 * 8 + 2 * 64 + 2 * 32) / (1000.0 * 1e6) * 1e6);
        source->setCurrentIndex(1);
        QCOMPARE(metric->currentData().toString(), QStringLiteral("relative_output_error"));
        QCOMPARE(fixture.graph->graph().nodes[nodeOf(graph, "Layer 0")].value, 0.25);
    }

    void withoutSuchTechniquesAClickSaysSo() {
        test::WindowFixture fixture;
        fixture.show();
        emit fixture.window->modelView()->dropRequested(1, true);
        emit fixture.window->modelView()->pinRequested({"layers.0.attn.q.weight"}, "int8");
        QCOMPARE(fixture.window->recipe()->model()->rowCount(), 0);
        QVERIFY(fixture.window->messages()->count() > 0);
    }

    void patternsOfTheRecipeAreMarked() {
        Recipe recipe;
        recipe.steps = {{"ptq",
                         {{"schemes", {"layers.0.attn.qkv=int8", "layers.1.*=int4-g32"}},
                          {"exclude", {"re:layers\\.0\\.ffn\\.(up|gate)\\.weight"}}}}};
        const QHash<QString, QString> marks = recipeMarks(recipe, twoLayers());
        QCOMPARE(marks.value("layers.0.attn.v.weight"), QStringLiteral("int8"));
        QCOMPARE(marks.value("layers.0.attn.o.weight"), QString());
        QCOMPARE(marks.value("layers.0.ffn.up.weight"), QStringLiteral("left alone"));
        QCOMPARE(marks.value("layers.0.ffn.down.weight"), QString());
        QCOMPARE(marks.value("layers.1.ffn.down.weight"), QStringLiteral("int4-g32"));
    }
};

QTEST_MAIN(ModelGraphTest)
#include "tst_model_graph.moc"
