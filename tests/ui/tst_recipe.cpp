// Forms made from a schema, undo, validation, presets, sweeps, and what a run queues.
#include <QCheckBox>
#include <QComboBox>
#include <QDropEvent>
#include <QLineEdit>
#include <QMimeData>
#include <QPushButton>
#include <QSpinBox>
#include <QTemporaryFile>
#include <QToolButton>
#include <QtTest>

#include "tests/support/window_fixture.h"
#include "ui/models/recipe_model.h"
#include "ui/pages/recipe_page.h"
#include "ui/widgets/estimate_panel.h"
#include "ui/widgets/parameter_editor.h"
#include "ui/widgets/parameter_form.h"
#include "ui/widgets/recipe_editor.h"
#include "ui/widgets/run_setup_panel.h"
#include "ui/widgets/sweep_dialog.h"
#include "ui/widgets/technique_card.h"

using namespace fettle;
using namespace fettle::ui;

namespace {

template <typename Widget>
Widget* controlOf(const ParameterForm* form, const char* name) {
    return qobject_cast<Widget*>(form->editor(name)->control());
}

Recipe ptq(const char* scheme) {
    Recipe recipe;
    recipe.steps = {{"ptq", {{"scheme", scheme}}}};
    return recipe;
}

}  // namespace

class RecipeTest : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { test::prepareGuiTest(); }

    void init() {
        m_fixture = std::make_unique<test::WindowFixture>();
        m_fixture->show();
        m_page = m_fixture->window->recipe();
        m_model = m_page->model();
    }
    void cleanup() { m_fixture.reset(); }

    void everyParameterTypeHasAnEditor() {
        m_model->addStep("ptq");
        const ParameterForm* form = m_page->editor()->cards().at(0)->form();
        auto* scheme = controlOf<QComboBox>(form, "scheme");
        auto* tokens = controlOf<QSpinBox>(form, "tokens");
        auto* ratio = controlOf<NumberSpinBox>(form, "ratio");
        auto* bits = controlOf<QLineEdit>(form, "target_bits");
        auto* fast = controlOf<QCheckBox>(form, "fast");
        auto* note = controlOf<QLineEdit>(form, "note");
        auto* exclude = controlOf<QLineEdit>(form, "exclude");
        auto* codebook = controlOf<QLineEdit>(form, "codebook");
        QVERIFY(scheme && tokens && ratio && bits && fast && note && exclude && codebook);
        QCOMPARE(scheme->currentData().toString(), QStringLiteral("int8"));
        QCOMPARE(scheme->itemData(1, Qt::ToolTipRole).toString(),
                 QStringLiteral("Half the size again."));
        QCOMPARE(tokens->value(), 512);
        QCOMPARE(tokens->suffix(), QStringLiteral(" tokens"));
        QVERIFY(bits->text().isEmpty());

        scheme->setCurrentIndex(1);
        tokens->setValue(1024);
        ratio->setValue(0.25);
        bits->setFocus();
        QTest::keyClicks(bits, QStringLiteral("4.5"));
        QTest::keyClick(bits, Qt::Key_Return);
        fast->setChecked(true);
        QTest::keyClicks(note, QStringLiteral("why"));
        QTest::keyClicks(exclude, QStringLiteral("lm_head, *.down"));
        QTest::keyClicks(codebook, QStringLiteral("/a/b"));
        const nlohmann::json expected = {{"scheme", "int4-g32"},
                                         {"tokens", 1024},
                                         {"ratio", 0.25},
                                         {"target_bits", 4.5},
                                         {"fast", true},
                                         {"note", "why"},
                                         {"exclude", {"lm_head", "*.down"}},
                                         {"codebook", "/a/b"}};
        QCOMPARE(QString::fromStdString(m_model->recipe().steps[0].params.dump()),
                 QString::fromStdString(expected.dump()));
    }

    void formsNameTheirControls() {
        m_model->addStep("ptq");
        const ParameterForm* form = m_page->editor()->cards().at(0)->form();
        for (const ParameterSchema& parameter : test::everyParameterType().parameters) {
            const QWidget* control = form->editor(parameter.name)->control();
            QCOMPARE(control->accessibleName(), QString::fromStdString(parameter.title));
            QVERIFY(!control->accessibleDescription().isEmpty());
            QVERIFY(form->editor(parameter.name)
                        ->toolTip()
                        .contains(QString::fromStdString(parameter.help)));
        }
    }

    void rowsFollowVisibleWhen() {
        m_model->addStep("ptq");
        const ParameterForm* form = m_page->editor()->cards().at(0)->form();
        QVERIFY(!form->isRowVisible("ratio"));
        m_model->setParam(0, "scheme", "int4-g32");
        QVERIFY(form->isRowVisible("ratio"));
        QTRY_VERIFY(form->editor("ratio")->isVisible());
        m_model->undoStack()->undo();
        QVERIFY(!form->isRowVisible("ratio"));
    }

    void resetReturnsToTheDefault() {
        m_model->addStep("ptq");
        m_model->setParam(0, "tokens", 7);
        const ParameterForm* form = m_page->editor()->cards().at(0)->form();
        QCOMPARE(controlOf<QSpinBox>(form, "tokens")->value(), 7);
        m_model->resetParam(0, "tokens");
        QCOMPARE(controlOf<QSpinBox>(form, "tokens")->value(), 512);
        QVERIFY(!m_model->recipe().steps[0].params.contains("tokens"));
    }

    void numbersAsPeopleWriteThem_data() {
        QTest::addColumn<QString>("text");
        QTest::addColumn<int>("state");
        QTest::newRow("plain") << "0.5" << int(QValidator::Acceptable);
        QTest::newRow("scientific") << "1e-4" << int(QValidator::Acceptable);
        QTest::newRow("half typed") << "1e-" << int(QValidator::Intermediate);
        QTest::newRow("out of range") << "2" << int(QValidator::Intermediate);
        QTest::newRow("letters") << "abc" << int(QValidator::Invalid);
    }
    void numbersAsPeopleWriteThem() {
        QFETCH(QString, text);
        QFETCH(int, state);
        NumberSpinBox box;
        box.setRange(0, 1);
        int pos = 0;
        QCOMPARE(int(box.validate(text, pos)), state);
        box.setValue(1e-4);
        QCOMPARE(box.text(), QStringLiteral("0.0001"));
    }

    void undoAndRedoEveryEdit() {
        const Recipe start = m_model->recipe();
        m_model->addStep("ptq");
        m_model->addStep("qat");
        m_model->moveStep(1, 0);
        m_model->duplicateStep(1);
        m_model->setParam(1, "tokens", 3);
        m_model->setParam(1, "tokens", 4);  // melts into the edit before
        m_model->removeStep(0);
        m_model->setHeader(QStringLiteral("mine"), 7);
        const Recipe end = m_model->recipe();
        QCOMPARE(m_model->undoStack()->count(), 7);
        QCOMPARE(end.steps.size(), std::size_t(2));
        while (m_model->undoStack()->canUndo()) {
            m_model->undoStack()->undo();
            QCOMPARE(m_page->editor()->cards().size(), m_model->recipe().steps.size());
        }
        QVERIFY(m_model->recipe() == start);
        while (m_model->undoStack()->canRedo()) {
            m_model->undoStack()->redo();
        }
        QVERIFY(m_model->recipe() == end);
        for (std::size_t i = 0; i < m_page->editor()->cards().size(); ++i) {
            QCOMPARE(m_page->editor()->cards()[i]->row(), static_cast<int>(i));
        }
    }

    // Found by the monkey: two quick clicks on a card whose step goes with the first.
    void aClickOnACardThatWentDoesNothing() {
        m_model->setRecipe(ptq("int8"), QStringLiteral("test"));
        TechniqueCard* card = m_page->editor()->cards().at(0);
        card->findChild<QToolButton*>(QStringLiteral("duplicate"))->click();
        card->findChild<QToolButton*>(QStringLiteral("remove"))->click();
        m_model->removeStep(0);
        QCoreApplication::processEvents();
        QCOMPARE(m_model->rowCount(), 0);
        m_model->duplicateStep(0);
        m_model->setParam(3, "scheme", "int8");
        m_model->resetParam(-1, "scheme");
        QCOMPARE(m_model->rowCount(), 0);
    }

    void cardsReorderByDrop() {
        m_model->addStep("ptq");
        m_model->addStep("qat");
        QTRY_VERIFY(m_page->editor()->cards().at(1)->y() > 0);
        QMimeData mime;
        mime.setData(QLatin1String(TechniqueCard::kMimeType), "1");
        QDragEnterEvent enter(QPoint(20, 1), Qt::MoveAction, &mime, Qt::LeftButton, Qt::NoModifier);
        QCoreApplication::sendEvent(m_page->editor(), &enter);
        QVERIFY(enter.isAccepted());
        QDropEvent drop(QPointF(20, 1), Qt::MoveAction, &mime, Qt::LeftButton, Qt::NoModifier);
        QCoreApplication::sendEvent(m_page->editor(), &drop);
        QCOMPARE(m_model->recipe().steps[0].technique, std::string("qat"));
        QVERIFY(m_model->undoStack()->canUndo());
    }

    void problemsStopTheRun() {
        m_model->setRecipe(ptq("no-such-scheme"), QStringLiteral("test"));
        QVERIFY(!m_page->runButton()->isEnabled());
        QVERIFY(m_page->runButton()->toolTip().contains(QStringLiteral("scheme")));
        QTRY_VERIFY(m_page->estimate()->problemsText().contains(QStringLiteral("scheme")));
        QVERIFY(m_fixture->engine.of<EstimateRequest>().empty());
        m_model->setParam(0, "scheme", "int8");
        QVERIFY(m_page->runButton()->isEnabled());
    }

    void estimatesAreAskedOnceThingsAreQuiet() {
        QTRY_COMPARE(m_fixture->engine.of<EstimateRequest>().size(),
                     std::size_t(1));  // of the empty recipe
        m_model->addStep("ptq");
        for (int i = 1; i < 20; ++i) {
            m_model->setParam(0, "tokens", i);
        }
        QTRY_COMPARE(m_fixture->engine.of<EstimateRequest>().size(), std::size_t(2));
        QTest::qWait(RecipePage::kValidateMs + 100);
        const auto asked = m_fixture->engine.of<EstimateRequest>();
        QCOMPARE(asked.size(), std::size_t(2));
        QCOMPARE(asked[1].second.recipe.steps[0].params["tokens"].get<int>(), 19);
        QCOMPARE(m_fixture->engine.cancelled.size(),
                 std::size_t(1));  // the one that nobody waits for any more

        RecipeEstimate estimate;
        estimate.peakBytes = 10 << 20;
        estimate.problems = {"needs 10 GiB, 8 GiB are there"};
        m_fixture->engine.send(asked[1].first, JobFinished{estimate});
        QVERIFY(m_page->estimate()->problemsText().contains(QStringLiteral("10 GiB")));
        QVERIFY(!m_page->runButton()->isEnabled());
    }

    void aRunBringsItsBaselineOnce() {
        m_model->setRecipe(ptq("int8"), QStringLiteral("test"));
        m_page->run();
        auto runs = m_fixture->engine.of<RunRequest>();
        QCOMPARE(runs.size(), std::size_t(2));
        QVERIFY(runs[0].second.recipe.steps.empty());
        QCOMPARE(runs[0].second.artifactFolder, std::string());
        QCOMPARE(runs[1].second.recipe.steps.size(), std::size_t(1));
        QCOMPARE(runs[1].second.artifactFolder, std::string("/artifacts/2"));
        QCOMPARE(runs[1].second.modelPath, std::string("demo"));
        m_page->run();
        QCOMPARE(m_fixture->engine.of<RunRequest>().size(), std::size_t(3));
        MeasureOptions other;
        other.context = 128;
        m_page->setup()->setMeasure(other);
        m_page->run();
        runs = m_fixture->engine.of<RunRequest>();
        QCOMPARE(runs.size(), std::size_t(5));  // another protocol needs another baseline
        QVERIFY(runs[3].second.recipe.steps.empty());
        QCOMPARE(runs[3].second.measure.context, 128);
    }

    void aRefusedExperimentIsNotRun() {
        m_fixture->service.refuse = true;
        m_model->setRecipe(ptq("int8"), QStringLiteral("test"));
        m_page->run();
        QVERIFY(m_fixture->engine.of<RunRequest>().empty());
        QVERIFY(m_fixture->window->messages()->count() > 0);
    }

    void theOutcomeIsHeldAgainstTheEstimate() {
        m_model->setRecipe(ptq("int8"), QStringLiteral("test"));
        m_page->run();
        RunResult result;
        RecipeEstimate promised;
        promised.peakBytes = 100;
        promised.outputBytes = 1000;
        result.estimate = promised;
        Measurement peak;
        peak.name = "peak_bytes";
        peak.value = 120;
        result.metrics = {peak};
        m_fixture->engine.send(m_fixture->engine.of<RunRequest>()[1].first, JobFinished{result});
        QVERIFY2(m_page->estimate()->outcomeText().contains(QStringLiteral("+20\u00a0%")),
                 qPrintable(m_page->estimate()->outcomeText()));
    }

    void sweepValues_data() {
        QTest::addColumn<int>("type");
        QTest::addColumn<QString>("text");
        QTest::addColumn<QString>("values");
        const int whole = static_cast<int>(ParameterType::Int);
        const int real = static_cast<int>(ParameterType::Double);
        QTest::newRow("list") << real << "0.1, 0.5"
                              << "[0.1,0.5]";
        QTest::newRow("range") << real << "0.1:0.5:0.2"
                               << "[0.1,0.3,0.5]";
        QTest::newRow("integers") << whole << "1:3:1"
                                  << "[1,2,3]";
        QTest::newRow("too large") << real << "0.5, 2"
                                   << "[]";
        QTest::newRow("no number") << real << "0.5, x"
                                   << "[]";
        QTest::newRow("endless") << real << "0:1:0"
                                 << "[]";
        QTest::newRow("nothing") << real << " "
                                 << "[]";
    }
    void sweepValues() {
        QFETCH(int, type);
        QFETCH(QString, text);
        QFETCH(QString, values);
        ParameterSchema schema;
        schema.name = "p";
        schema.type = static_cast<ParameterType>(type);
        schema.maximum = type == static_cast<int>(ParameterType::Double) ? 1.0 : 100.0;
        QString problem;
        const nlohmann::json parsed = parseSweepValues(schema, text, &problem);
        QCOMPARE(QString::fromStdString(parsed.is_null() ? "[]" : parsed.dump()), values);
        QCOMPARE(problem.isEmpty(), values != QStringLiteral("[]"));
    }

    void aSweepIsOneExperimentEach() {
        m_model->setRecipe(ptq("int8"), QStringLiteral("test"));
        SweepDialog dialog(*m_model, 0, "scheme");
        for (QCheckBox* box : dialog.findChildren<QCheckBox*>()) {
            if (box->text() == QStringLiteral("4 bits")) {
                box->setChecked(true);
            }
        }
        const std::vector<Recipe> recipes = dialog.recipes();
        QCOMPARE(recipes.size(), std::size_t(2));
        QCOMPARE(m_page->queueRecipes(recipes).size(), std::size_t(2));
        QCOMPARE(m_fixture->engine.of<RunRequest>().size(), std::size_t(3));
    }

    void presetsThatCannotRunAreNotOffered() {
        for (const auto& [recipe, help] : m_page->presets()) {
            QVERIFY(!recipe.name.empty());
            QVERIFY(!help.isEmpty());
            for (const RecipeStep& step : recipe.steps) {
                QVERIFY(validateParams(*m_model->descriptor(step.technique), step.params)
                            .problems.empty());
            }
        }
    }

    void aBrokenRecipeFileIsAMessage() {
        QTemporaryFile file;
        QVERIFY(file.open());
        file.write("{\"steps\": 3}");
        file.flush();
        QVERIFY(!m_page->loadRecipeFile(file.fileName()));
        QVERIFY(m_fixture->window->messages()->newest().contains(file.fileName()));
    }

    void inputsShowWhereARecipeNeedsThem() {
        const auto hasVisibleBox = [this](const QString& name) {
            for (const QComboBox* box : m_page->setup()->findChildren<QComboBox*>()) {
                if (box->accessibleName() == name) {
                    return box->isVisible();
                }
            }
            return false;
        };
        QVERIFY(!hasVisibleBox(QStringLiteral("Teacher")));
        m_model->addStep("qat");
        QVERIFY(hasVisibleBox(QStringLiteral("Teacher")));
        QVERIFY(hasVisibleBox(QStringLiteral("Training text")));
        QVERIFY(!hasVisibleBox(QStringLiteral("Calibration")));
    }

private:
    std::unique_ptr<test::WindowFixture> m_fixture;
    RecipePage* m_page = nullptr;
    RecipeModel* m_model = nullptr;
};

QTEST_MAIN(RecipeTest)
#include "tst_recipe.moc"
