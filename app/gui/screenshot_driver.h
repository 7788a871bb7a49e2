// Drives the demo without a user and saves a picture of every page: for the documentation, and to
// look at the window where there is no display. GUI thread only.
#pragma once

#include <QObject>
#include <QString>
#include <deque>
#include <functional>

namespace fettle::app {

class GuiApplication;

class ScreenshotDriver : public QObject {
    Q_OBJECT

public:
    /// Begins when the application is ready; quits it when done.
    ScreenshotDriver(GuiApplication* application, QString folder, QObject* parent = nullptr);

private:
    struct Step {
        QString what;
        std::function<void()> act;
        std::function<bool()> done;  ///< polled; empty: done at once
    };

    void plan();
    void planPrecision();
    void planAdvisor();
    void planPlayground();
    void planCompare();
    void next();
    void save(const QString& name);
    QString fewTasks() const;
    void add(const QString& what, std::function<void()> act, std::function<bool()> done = {});

    GuiApplication* m_application;
    QString m_folder;
    std::deque<Step> m_steps;
    int m_number = 0;
};

}  // namespace fettle::app
