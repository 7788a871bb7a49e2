// Frame times of the trade-off chart and the time to open the explore page, without a display. A
// frame is one full paint into an image, the way a panning user causes it.
#include <QApplication>
#include <QElapsedTimer>
#include <QImage>
#include <QPainter>
#include <algorithm>
#include <cstdio>
#include <functional>

#include "tests/ui/explore_fixture.h"
#include "ui/charts/tradeoff_chart.h"

using namespace fettle::ui;

namespace {

double medianMs(int repeats, const std::function<void()>& work) {
    std::vector<double> times;
    for (int i = 0; i < repeats; ++i) {
        QElapsedTimer timer;
        timer.start();
        work();
        times.push_back(static_cast<double>(timer.nsecsElapsed()) / 1e6);
    }
    std::nth_element(times.begin(), times.begin() + repeats / 2, times.end());
    return times[static_cast<std::size_t>(repeats / 2)];
}

void benchChart(int count) {
    const auto records = test::syntheticExperiments(count);
    TradeoffChart chart;
    chart.resize(1280, 720);
    QElapsedTimer timer;
    timer.start();
    TradeoffData data = buildTradeoff(records, {});
    const double build = static_cast<double>(timer.nsecsElapsed()) / 1e6;
    chart.setData(std::move(data));
    chart.show();
    QCoreApplication::processEvents();
    QImage target(chart.size(), QImage::Format_ARGB32_Premultiplied);
    const auto frame = [&] { chart.QWidget::render(&target); };
    frame();
    int step = 0;
    const double pan = medianMs(41, [&] {
        ++step;
        chart.pan(QPointF(step % 2 ? 9 : -9, step % 2 ? 5 : -5));
        frame();
    });
    const double zoom = medianMs(21, [&] {
        chart.zoom(step++ % 2 ? 1.25 : 0.8, chart.view().plot.center());
        frame();
    });
    const double still = medianMs(41, frame);
    std::printf(
        "%7d points, %6d drawn: build %7.1f ms, pan frame %6.2f ms, zoom frame %6.2f ms, still "
        "frame %6.2f ms\n",
        count, chart.drawnPoints(), build, pan, zoom, still);
}

}  // namespace

int main(int argc, char** argv) {
    if (qEnvironmentVariableIsEmpty("QT_QPA_PLATFORM")) {
        qputenv("QT_QPA_PLATFORM", "offscreen");
    }
    QApplication app(argc, argv);
    for (const int count : {100, 500, 1000, 10000, 100000}) {
        benchChart(count);
    }
    return 0;
}
