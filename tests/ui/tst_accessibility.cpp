// Every control of the window says its name to a screen reader; buttons show their words whole at
// every scale of the screen; examples and notifications; words can be translated.
#include <QAbstractButton>
#include <QAbstractItemView>
#include <QAbstractSpinBox>
#include <QAccessible>
#include <QComboBox>
#include <QDockWidget>
#include <QLabel>
#include <QLineEdit>
#include <QListWidget>
#include <QPlainTextEdit>
#include <QProcess>
#include <QPushButton>
#include <QScrollBar>
#include <QStackedWidget>
#include <QTabBar>
#include <QTabWidget>
#include <QTranslator>
#include <QtTest>

#include "tests/support/window_fixture.h"
#include "ui/bridge/engine_text.h"
#include "ui/models/recipe_model.h"
#include "ui/pages/compare_page.h"
#include "ui/pages/examples_dialog.h"
#include "ui/pages/model_view.h"
#include "ui/pages/recipe_page.h"

using namespace fettle;
using namespace fettle::ui;

namespace {

constexpr int kPages = 8;

/// Parts that Qt makes inside its own controls, and those speak for them.
bool isInner(const QWidget* widget) {
    const QWidget* parent = widget->parentWidget();
    return widget->objectName().startsWith(QLatin1String("qt_")) ||
           qobject_cast<const QScrollBar*>(widget) ||
           widget->inherits("QComboBoxPrivateScroller") ||
           (parent &&
            (qobject_cast<const QAbstractSpinBox*>(parent) ||
             qobject_cast<const QComboBox*>(parent) || qobject_cast<const QTabBar*>(parent) ||
             parent->inherits("QComboBoxPrivateContainer") ||
             parent->inherits("QDockWidgetTitleButton") ||
             (qobject_cast<const QLineEdit*>(parent) &&
              qobject_cast<const QAbstractButton*>(widget))));
}

bool takesInput(const QWidget* widget) {
    return widget->focusPolicy() != Qt::NoFocus || qobject_cast<const QAbstractButton*>(widget);
}

QString whereIs(const QWidget* widget) {
    QStringList path;
    for (const QWidget* at = widget; at; at = at->parentWidget()) {
        QString name = QString::fromLatin1(at->metaObject()->className());
        if (!at->objectName().isEmpty()) {
            name += QLatin1Char('#') + at->objectName();
        }
        path.prepend(name);
    }
    return path.mid(std::max<qsizetype>(0, path.size() - 5)).join(QStringLiteral(" > "));
}

QStringList nameless(QWidget* root) {
    QStringList found;
    for (QWidget* widget : root->findChildren<QWidget*>()) {
        if (!takesInput(widget) || isInner(widget)) {
            continue;
        }
        // What only holds other parts has nothing to say, and a label says its text.
        const QByteArray kind = widget->metaObject()->className();
        if (kind == "QStackedWidget" || kind == "QTabWidget" || kind == "QScrollArea" ||
            kind == "QLabel" || kind == "QWidget" || kind == "QTableCornerButton") {
            continue;
        }
        QAccessibleInterface* interface = QAccessible::queryAccessibleInterface(widget);
        const QString name = interface ? interface->text(QAccessible::Name) : QString();
        if (name.trimmed().isEmpty()) {
            found << whereIs(widget);
        }
    }
    return found;
}

Measurement number(const char* name, double value) {
    Measurement m;
    m.name = name;
    m.value = value;
    return m;
}

/// The window with every page made and something to show on each.
struct FullWindow : test::WindowFixture {
    FullWindow() {
        for (qint64 id = 1; id <= 3; ++id) {
            ExperimentRecord record;
            record.id = id;
            record.name = "run " + std::to_string(id);
            record.modelPath = record.modelName = "demo";
            record.status = ExperimentStatus::Finished;
            if (id > 1) {
                record.recipe.steps = {{"ptq", {{"scheme", "int8"}}}};
            }
            record.metrics["perplexity"] = number("perplexity", 7.0 + static_cast<double>(id));
            record.metrics["decode_tokens_per_s"] =
                number("decode_tokens_per_s", 100.0 * static_cast<double>(id));
            service.records.push_back(record);
        }
        show();
        window->inspect(QStringLiteral("demo"));
        engine.send(engine.of<InspectRequest>().back().first,
                    JobFinished{test::smallReport("demo")});
        window->recipe()->model()->addStep("ptq");
        window->recipe()->model()->addStep("qat");
        for (int page = 0; page < kPages; ++page) {
            window->showPage(static_cast<MainWindow::Page>(page));
            QCoreApplication::processEvents();
        }
        window->compare({1, 2, 3});
    }
};

/// Whatever there is to say, said backwards.
class Backwards : public QTranslator {
public:
    bool isEmpty() const override { return false; }
    QString translate(const char*, const char* text, const char*, int) const override {
        return QLatin1Char('<') + QString::fromUtf8(text) + QLatin1Char('>');
    }
};

}  // namespace

class AccessibilityTest : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { test::prepareGuiTest(); }

    void everyControlHasAName() {
        FullWindow fixture;
        const QStringList missing = nameless(fixture.window.get());
        QVERIFY2(missing.isEmpty(), qPrintable(missing.join(QLatin1Char('\n'))));
        fixture.window->showHelp();
        fixture.window->showExamples();
        fixture.window->openPalette();
        for (QWidget* dialog : QApplication::topLevelWidgets()) {
            if (dialog != fixture.window.get() && dialog->isVisible()) {
                const QStringList inside = nameless(dialog);
                QVERIFY2(inside.isEmpty(), qPrintable(inside.join(QLatin1Char('\n'))));
            }
        }
    }

    // The scale is set before a program starts: this one starts itself again.
    void wordsFitAtEveryScale_data() {
        QTest::addColumn<QString>("scale");
        for (const char* scale : {"1.25", "1.5", "2", "3"}) {
            QTest::newRow(scale) << QString::fromLatin1(scale);
        }
    }
    void wordsFitAtEveryScale() {
        QFETCH(QString, scale);
        QProcess again;
        QProcessEnvironment environment = QProcessEnvironment::systemEnvironment();
        environment.insert(QStringLiteral("QT_SCALE_FACTOR"), scale);
        again.setProcessEnvironment(environment);
        again.setProcessChannelMode(QProcess::MergedChannels);
        again.start(QCoreApplication::applicationFilePath(), {QStringLiteral("wordsFit")});
        QVERIFY(again.waitForFinished(120'000));
        QVERIFY2(again.exitStatus() == QProcess::NormalExit && again.exitCode() == 0,
                 again.readAll().constData());
    }

    void wordsFit() {
        FullWindow fixture;
        const double wanted = qEnvironmentVariable("QT_SCALE_FACTOR", "1").toDouble();
        QCOMPARE(fixture.window->devicePixelRatioF(), wanted);
        fixture.window->resize(1280, 800);
        for (int page = 0; page < kPages; ++page) {
            fixture.window->showPage(static_cast<MainWindow::Page>(page));
            QCoreApplication::processEvents();
            for (QPushButton* button : fixture.window->findChildren<QPushButton*>()) {
                if (!button->isVisible() || button->text().isEmpty()) {
                    continue;
                }
                const int text = button->fontMetrics().horizontalAdvance(
                    QString(button->text()).remove(QLatin1Char('&')));
                QVERIFY2(
                    text <= button->width() && button->fontMetrics().height() <= button->height(),
                    qPrintable(button->text() + QStringLiteral(" in ") + whereIs(button)));
            }
            const QImage picture = fixture.window->grab().toImage();
            QCOMPARE(picture.width(), qRound(1280 * wanted));
        }
    }

    void examplesAreOpenedAndRun() {
        test::WindowFixture fixture;
        // Examples that no technique here can run are not offered: one takes them all.
        TechniqueDescriptor technique = test::everyParameterType();
        technique.parameters.resize(1);
        ParameterSchema method;
        method.name = "method";
        method.type = ParameterType::Text;
        method.defaultValue = "rtn";
        technique.parameters.push_back(method);
        ParameterSchema search = method;
        search.name = "scale_search";
        technique.parameters.push_back(search);
        fixture.engine.setTechniques({technique});
        fixture.window = std::make_unique<MainWindow>(fixture.jobs.get());
        fixture.show();
        fixture.window->showExamples();
        ExamplesDialog* dialog = fixture.window->examples();
        QVERIFY(dialog->isVisible());
        QVERIFY(dialog->list()->count() >= 2);
        const QString name = dialog->list()->item(1)->text();
        dialog->list()->setCurrentRow(1);
        QVERIFY2(dialog->text().contains(name), qPrintable(dialog->text()));
        QTest::mouseClick(dialog->openButton(), Qt::LeftButton);
        RecipeModel* recipe = fixture.window->recipe()->model();
        QCOMPARE(QString::fromStdString(recipe->recipe().name), name);
        QVERIFY(recipe->rowCount() > 0);
        recipe->undoStack()->undo();
        QCOMPARE(recipe->rowCount(), 0);
    }

    void noWordOfAPageIsLeftUntranslated() {
        Backwards translator;
        QCoreApplication::installTranslator(&translator);
        {
            FullWindow fixture;
            QStringList plain;
            for (QWidget* widget : fixture.window->findChildren<QWidget*>()) {
                QString text;
                if (const auto* button = qobject_cast<QAbstractButton*>(widget)) {
                    text = button->text();
                } else if (const auto* edit = qobject_cast<QLineEdit*>(widget)) {
                    text = edit->placeholderText();
                } else if (const auto* plainEdit = qobject_cast<QPlainTextEdit*>(widget)) {
                    text = plainEdit->placeholderText();
                } else if (const auto* label = qobject_cast<QLabel*>(widget);
                           label && whereIs(label).contains(QLatin1String("TechniqueCard"))) {
                    text = label->text();  // titles and help that the engine wrote
                } else if (const auto* box = qobject_cast<QComboBox*>(widget);
                           box && whereIs(box).contains(QLatin1String("ParameterForm"))) {
                    text = box->currentText();
                }
                const bool ours = !text.isEmpty() && text.contains(QRegularExpression("[a-z]{3}"));
                if (ours && !text.contains(QLatin1Char('<')) && !isInner(widget)) {
                    plain << text + QStringLiteral(" in ") + whereIs(widget);
                }
            }
            QVERIFY2(plain.isEmpty(), qPrintable(plain.join(QLatin1Char('\n'))));
            // What the translator gets to see is all that the window asks for.
            const QStringList texts = engineTexts(fixture.engine.techniques());
            QVERIFY(texts.size() > 50);
            const QString source = engineTextSource(texts + QStringList{"a \"b\"\nc"});
            QVERIFY(source.contains(QLatin1String("\"Engine\", \"a \\\"b\\\"\\nc\");")));
            QVERIFY(source.contains(QStringLiteral("\"Perplexity\"")));
        }
        QCoreApplication::removeTranslator(&translator);
    }
};

QTEST_MAIN(AccessibilityTest)
#include "tst_accessibility.moc"
