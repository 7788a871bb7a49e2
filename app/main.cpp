// The window. Heavy work waits until it is on screen.
#include <QApplication>
#include <QCommandLineParser>
#include <QDir>
#include <QElapsedTimer>
#include <QLocale>
#include <QSaveFile>
#include <QSettings>
#include <QTextStream>
#include <QTimer>
#include <QTranslator>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>

#include "app/core/logging.h"
#include "app/core/paths.h"
#include "app/core/version.h"
#include "app/gui/application.h"
#include "app/gui/demo_start.h"
#include "app/gui/screenshot_driver.h"
#include "engine/technique/technique.h"
#include "ui/bridge/engine_text.h"
#include "ui/pages/library_page.h"
#include "ui/pages/main_window.h"
#include "ui/widgets/theme.h"

namespace {

struct Options {
    std::filesystem::path database;
    QString screenshots;
    QSize size;
    QString theme;
    bool measureStart = false;
    bool demo = false;
    QString engineTexts;
    QStringList files;  ///< models and texts to bring into the library
};

Options parse(const QApplication& application) {
    QCommandLineParser parser;
    parser.setApplicationDescription(
        QObject::tr("Makes language models smaller and faster, and shows what that costs."));
    parser.addHelpOption();
    parser.addVersionOption();
    const QCommandLineOption database({"database", "db"},
                                      QObject::tr("Use this experiment database."), "FILE");
    const QCommandLineOption screenshots(
        "screenshot", QObject::tr("Drive the demo, save pictures of all pages, quit."), "DIR");
    const QCommandLineOption size("size", QObject::tr("Size of the window."), "WIDTHxHEIGHT");
    const QCommandLineOption theme(
        "theme", QObject::tr("system, light or dark; for this start only."), "NAME");
    const QCommandLineOption start("measure-start",
                                   QObject::tr("Print how long the first picture took, quit."));
    const QCommandLineOption demo(
        "demo", QObject::tr("With an empty database: run the bundled model through all presets."));
    const QCommandLineOption texts(
        "engine-texts", QObject::tr("Write the engine's texts as a source for lupdate, quit."),
        "FILE");
    parser.addPositionalArgument("files", QObject::tr("Models and texts to open."), "[FILE...]");
    parser.addOptions({database, screenshots, size, theme, start, demo, texts});
    parser.process(application);
    Options options;
    options.database = parser.isSet(database)
                           ? std::filesystem::path(parser.value(database).toStdString())
                           : fettle::app::defaultDatabasePath();
    options.screenshots = parser.value(screenshots);
    const QStringList parts = parser.value(size).split(QLatin1Char('x'));
    if (parts.size() == 2) {
        options.size = QSize(parts[0].toInt(), parts[1].toInt());
    }
    options.theme = parser.isSet(theme) ? parser.value(theme)
                                        : QSettings().value(QStringLiteral("theme")).toString();
    options.measureStart = parser.isSet(start);
    options.demo = parser.isSet(demo);
    options.engineTexts = parser.value(texts);
    options.files = parser.positionalArguments();
    return options;
}

/// Whether Qt would look for a display server and find none; it would then abort with its own
/// words.
bool lacksDisplay(int argc, char** argv) {
#if defined(Q_OS_LINUX)
    for (int i = 1; i < argc; ++i) {
        if (std::strcmp(argv[i], "-platform") == 0) {
            return false;
        }
    }
    return qEnvironmentVariableIsEmpty("DISPLAY") &&
           qEnvironmentVariableIsEmpty("WAYLAND_DISPLAY") &&
           qEnvironmentVariableIsEmpty("QT_QPA_PLATFORM");
#else
    Q_UNUSED(argc)
    Q_UNUSED(argv)
    return false;
#endif
}

/// Words in the user's language, where somebody has translated them: fettle_LANGUAGE.qm in the
/// folder that FETTLE_TRANSLATIONS names, or beside the installed resources.
void loadTranslation(QTranslator& translator) {
    const QString folder = qEnvironmentVariable(
        "FETTLE_TRANSLATIONS",
        QDir(QCoreApplication::applicationDirPath()).filePath("../share/fettle/translations"));
    if (translator.load(QLocale(), QStringLiteral("fettle"), QStringLiteral("_"), folder)) {
        QCoreApplication::installTranslator(&translator);
    }
}

bool writeEngineTexts(const QString& path) {
    const QByteArray source =
        fettle::ui::engineTextSource(fettle::ui::engineTexts(fettle::techniqueDescriptors()))
            .toUtf8();
    QSaveFile file(path);
    if (file.open(QIODevice::WriteOnly) && file.write(source) == source.size() && file.commit()) {
        return true;
    }
    std::fprintf(stderr, "fettle: %s: %s\n", qPrintable(path), qPrintable(file.errorString()));
    return false;
}

}  // namespace

int main(int argc, char** argv) {
    QElapsedTimer clock;
    clock.start();
    if (lacksDisplay(argc, argv)) {
        std::fputs(
            "fettle: there is no display (DISPLAY and WAYLAND_DISPLAY are not set); fettle-cli "
            "does "
            "the same work without one\n",
            stderr);
        return 4;
    }
    QApplication::setHighDpiScaleFactorRoundingPolicy(
        Qt::HighDpiScaleFactorRoundingPolicy::PassThrough);
    QApplication application(argc, argv);
    QApplication::setApplicationName(QStringLiteral("fettle"));
    QApplication::setOrganizationName(QStringLiteral("fettle"));
    QApplication::setApplicationDisplayName(QStringLiteral("Fettle"));
    QApplication::setApplicationVersion(QString::fromStdString(fettle::applicationVersion()));
    QApplication::setDesktopFileName(QStringLiteral("fettle"));
    QTranslator translator;  // outlives the window
    loadTranslation(translator);
    const Options options = parse(application);
    if (!options.engineTexts.isEmpty()) {
        return writeEngineTexts(options.engineTexts) ? 0 : 3;
    }
    fettle::app::startLogging(fettle::app::logFile());
    fettle::app::initGuiResources();
    using fettle::ui::Theme;
    Theme::instance()->setMode(Theme::modeFromString(options.theme));
    Theme::instance()->apply();

    fettle::app::GuiApplication gui(options.database);
    if (options.size.isValid()) {
        gui.window()->resize(options.size);
    }
    if (options.demo) {
        fettle::app::startDemoWhenEmpty(gui);
    }
    if (!options.files.isEmpty()) {
        QObject::connect(&gui, &fettle::app::GuiApplication::ready, &gui,
                         [&] { gui.window()->library()->addPaths(options.files); });
    }
    if (options.screenshots.isEmpty() && !options.measureStart) {
        QObject::connect(&gui, &fettle::app::GuiApplication::ready, gui.window(),
                         &fettle::ui::MainWindow::startTourOnce);
    }
    gui.show();
    if (options.measureStart) {
        // A zero timer fires after the first paint has been handled.
        QTimer::singleShot(0, &gui, [&] {
            QTextStream(stdout) << "first_paint_ms " << clock.elapsed() << "\n";
            application.quit();
        });
    }
    std::unique_ptr<fettle::app::ScreenshotDriver> driver;
    if (!options.screenshots.isEmpty()) {
        driver = std::make_unique<fettle::app::ScreenshotDriver>(&gui, options.screenshots);
    }
    return QApplication::exec();
}
