// The Export page: what it offers, what it posts, and how the checks are shown.
#include <QComboBox>
#include <QListWidget>
#include <QPushButton>
#include <QSignalSpy>
#include <QtTest>

#include "tests/support/window_fixture.h"
#include "ui/pages/export_page.h"
#include "ui/widgets/library_choice.h"

using namespace fettle;
using namespace fettle::ui;

class ExportTest : public QObject {
    Q_OBJECT

private slots:
    void initTestCase() { test::prepareGuiTest(); }

    void init() {
        m_fixture = std::make_unique<test::WindowFixture>();
        ExperimentRecord done;
        done.id = 5;
        done.name = "int8";
        done.modelName = "demo";
        done.status = ExperimentStatus::Finished;
        done.artifactPath = "/artifacts/5";
        m_fixture->service.records = {done};
        m_fixture->show();
        m_fixture->window->showPage(MainWindow::Page::Export);
        m_page = m_fixture->window->exportPage();
    }
    void cleanup() { m_fixture.reset(); }

    void offersExperimentsAndModels() {
        QCOMPARE(m_page->source()->itemData(0).toString(), QStringLiteral("/artifacts/5"));
        QVERIFY(m_page->source()->findData(QStringLiteral("demo")) > 0);
        QCOMPARE(m_page->formats()->count(), static_cast<int>(exportFormats().size()));
        m_page->source()->setCurrentIndex(m_page->source()->findData(QStringLiteral("demo")));
        m_page->chooseExperiment(5);
        QCOMPARE(m_page->source()->currentIndex(), 0);
    }

    void anUnknownExperimentIsAMessage() {
        m_page->chooseExperiment(77);
        QVERIFY(m_fixture->window->messages()->newest().contains(QStringLiteral("77")));
    }

    void postsWhatTheFormSays() {
        const JobId job = start();
        const ExportRequest request = m_fixture->engine.of<ExportRequest>()[0].second;
        QCOMPARE(request.modelPath, std::string("/artifacts/5"));
        QCOMPARE(request.outPath, std::string("/out/here"));
        QCOMPARE(request.format, exportFormats()[1].id);
        QVERIFY(request.verify);
        QVERIFY(!m_page->exportButton()->isEnabled());
        m_fixture->engine.send(job, JobCancelled{});
        QVERIFY(m_page->exportButton()->isEnabled());
    }

    void kQuantsTakeACalibrationText() {
        for (int row = 0; row < m_page->formats()->count(); ++row) {
            m_page->formats()->setCurrentRow(row);
            QCOMPARE(m_page->calibration()->isVisible(),
                     exportFormats()[static_cast<std::size_t>(row)].takesCalibration);
        }
        const auto formats = exportFormats();
        const auto q4 = std::find_if(formats.begin(), formats.end(),
                                     [](const auto& format) { return format.id == "gguf-q4_k_m"; });
        QVERIFY(q4->takesCalibration);
        m_page->calibration()->setPath(QStringLiteral("/texts/some.txt"));
        for (const bool takes : {true, false}) {
            m_page->formats()->setCurrentRow(takes ? static_cast<int>(q4 - formats.begin()) : 0);
            m_page->setDestination(QStringLiteral("/out/here"));
            m_page->exportButton()->click();
            const auto posted = m_fixture->engine.of<ExportRequest>().back();
            QCOMPARE(posted.second.calibration, std::string(takes ? "/texts/some.txt" : ""));
            m_fixture->engine.send(posted.first, JobCancelled{});
        }
    }

    void showsEachCheck() {
        const JobId job = start();
        ExportReport report;
        report.path = "/out/here";
        report.checks = {{"reload", true, "32 tensors"}, {"logits", false, "differ by 0.5"}};
        report.lossy = {"group scales are rounded to 16 bits"};
        QSignalSpy exported(m_page, &ExportPage::exported);
        m_fixture->engine.send(job, JobFinished{report});
        const QString text = m_page->resultText();
        QVERIFY2(text.contains(QStringLiteral("check failed")), qPrintable(text));
        QVERIFY(text.contains(QStringLiteral("32 tensors")));
        QVERIFY(text.contains(QStringLiteral("differ by 0.5")));
        QVERIFY(text.contains(QStringLiteral("rounded to 16 bits")));
        QCOMPARE(exported.count(), 1);
    }

    void aFailureNamesFileAndCause() {
        const JobId job = start();
        m_fixture->engine.send(job, JobFailed{{ErrorKind::Io, "/out/here: no space left"}});
        QVERIFY(m_page->resultText().contains(QStringLiteral("no space left")));
        QVERIFY(m_fixture->window->messages()->newest().contains(QStringLiteral("/out/here")));
    }

private:
    JobId start() {
        m_page->formats()->setCurrentRow(1);
        m_page->setDestination(QStringLiteral("/out/here"));
        m_page->run();
        return m_fixture->engine.of<ExportRequest>().at(0).first;
    }

    std::unique_ptr<test::WindowFixture> m_fixture;
    ExportPage* m_page = nullptr;
};

QTEST_MAIN(ExportTest)
#include "tst_export.moc"
