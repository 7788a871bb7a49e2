// A main window over fakes, with settings of its own.
#pragma once

#include <QApplication>
#include <QSettings>
#include <QStandardPaths>
#include <QTemporaryDir>
#include <memory>

#include "app/gui/application.h"
#include "tests/support/fake_engine_bridge.h"
#include "tests/support/fake_experiment_service.h"
#include "ui/bridge/job_controller.h"
#include "ui/pages/main_window.h"
#include "ui/widgets/theme.h"

namespace fettle::test {

/// Keeps tests away from the settings of the person who runs them.
inline void prepareGuiTest() {
    static QTemporaryDir settings;
    QCoreApplication::setOrganizationName(QStringLiteral("fettle-test"));
    QCoreApplication::setApplicationName(QStringLiteral("fettle-test"));
    QSettings::setDefaultFormat(QSettings::IniFormat);
    QSettings::setPath(QSettings::IniFormat, QSettings::UserScope, settings.path());
    app::initGuiResources();
    ui::Theme::instance()->setMode(ui::Theme::Mode::Light);
    ui::Theme::instance()->apply();
}

struct WindowFixture {
    FakeEngineBridge engine;
    FakeExperimentService service;
    std::unique_ptr<ui::JobController> jobs =
        std::make_unique<ui::JobController>(&engine, &service);
    std::unique_ptr<ui::MainWindow> window = std::make_unique<ui::MainWindow>(jobs.get());

    void show() {
        window->show();
        window->loadData();
    }
};

}  // namespace fettle::test
