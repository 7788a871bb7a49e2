// How long a large database takes from the start of the program to the drawn Explore page, without
// a display: `bench_open [EXPERIMENTS]`, 100,000 where none is given. The database is made first
// and is not part of the time.
#include <QApplication>
#include <QElapsedTimer>
#include <QEventLoop>
#include <QSettings>
#include <QTemporaryDir>
#include <QTimer>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "app/gui/application.h"
#include "app/gui/database_experiment_service.h"
#include "storage/database.h"
#include "storage/experiment_repository.h"
#include "storage/transaction.h"
#include "tests/ui/explore_fixture.h"
#include "ui/charts/tradeoff_chart.h"
#include "ui/pages/main_window.h"
#include "ui/widgets/theme.h"

using namespace fettle;

namespace {

double milliseconds(const QElapsedTimer& clock) {
    return static_cast<double>(clock.nsecsElapsed()) / 1e6;
}

/// Experiments as the chart's own benchmark has them, written as runs write them.
void fill(const std::filesystem::path& file, int count) {
    storage::Database database = storage::Database::open(file);
    storage::ExperimentRepository repository(database);
    storage::Transaction transaction(database);
    for (const ExperimentRecord& record : ui::test::syntheticExperiments(count)) {
        RunRequest request;
        request.modelPath = "/models/" + record.modelName;
        request.recipe = record.recipe;
        const std::int64_t id = repository.create(request, record.name, "0.1.0");
        RunResult result;
        result.deviceName = record.device;
        result.deviceKind = "cpu";
        for (const auto& [name, metric] : record.metrics)
            result.metrics.push_back(metric);
        repository.finish(id, result);
    }
    transaction.commit();
}

/// The longest time that the event loop did not come round.
class StallMeter : public QObject {
public:
    StallMeter() {
        m_beat.setInterval(1);
        connect(&m_beat, &QTimer::timeout, this, [this] {
            m_longest = std::max(m_longest, milliseconds(m_since));
            m_since.restart();
        });
        m_since.start();
        m_beat.start();
    }
    /// Counts the time since the last beat as well: the loop may end inside the longest stall.
    double longest() const { return std::max(m_longest, milliseconds(m_since)); }

private:
    QTimer m_beat;
    QElapsedTimer m_since;
    double m_longest = 0;
};

}  // namespace

int main(int argc, char** argv) {
    if (qEnvironmentVariableIsEmpty("QT_QPA_PLATFORM")) {
        qputenv("QT_QPA_PLATFORM", "offscreen");
    }
    const int count = argc > 1 ? std::atoi(argv[1]) : 100'000;
    QTemporaryDir folder;
    const std::filesystem::path file = folder.filePath("large.db").toStdString();
    fill(file, count);

    QElapsedTimer clock;
    clock.start();
    const std::clock_t work = std::clock();
    QApplication application(argc, argv);
    QCoreApplication::setApplicationName(QStringLiteral("fettle-bench"));
    QSettings::setDefaultFormat(QSettings::IniFormat);
    QSettings::setPath(QSettings::IniFormat, QSettings::UserScope, folder.path());
    app::initGuiResources();
    ui::Theme::instance()->setMode(ui::Theme::Mode::Light);
    ui::Theme::instance()->apply();
    app::GuiApplication gui(file);
    gui.window()->resize(1280, 800);
    gui.show();
    gui.window()->showPage(ui::MainWindow::Page::Explore);
    gui.window()->repaint();
    const double shown = milliseconds(clock);
    double opened = 0;
    QEventLoop loop;
    const StallMeter stalls;
    double drawn = 0;
    QObject::connect(gui.experiments(), &ui::ExperimentService::experimentsReset, &gui, [&] {
        gui.window()->repaint();
        drawn = milliseconds(clock);
    });
    QObject::connect(gui.experiments(), &app::DatabaseExperimentService::opened, &gui,
                     [&] { opened = milliseconds(clock); });
    QObject::connect(&gui, &app::GuiApplication::ready, &loop, &QEventLoop::quit);
    loop.exec();
    const double stalled = stalls.longest();
    const auto* chart = gui.window()->findChild<ui::TradeoffChart*>();
    std::printf(
        "%d experiments: window shown after %.0f ms, drawn after %.0f ms (%d points, %d markers), "
        "checked and writable after %.0f ms, longest stall of the event loop %.0f ms; %.0f ms of "
        "processor time in all threads\n",
        count, shown, drawn, static_cast<int>(chart->data().points.size()), chart->drawnPoints(),
        opened, stalled, 1000.0 * static_cast<double>(std::clock() - work) / CLOCKS_PER_SEC);
    return chart->data().points.empty() ? 1 : 0;
}
