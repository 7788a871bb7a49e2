// Frame times of the trade-off chart and of the parallel coordinates, without a display. A frame is
// one full paint into an image, the way a user who pans, or draws a range, causes it.
#include <QApplication>
#include <QElapsedTimer>
#include <QImage>
#include <QPainter>
#include <algorithm>
#include <cstdio>
#include <functional>

#include "tests/ui/explore_fixture.h"
#include "ui/charts/parallel_chart.h"
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

void benchParallel(int count) {
    const auto records = test::syntheticExperiments(count);
    std::vector<const fettle::ExperimentRecord*> pointers;
    for (const fettle::ExperimentRecord& record : records) {
        pointers.push_back(&record);
    }
    ParallelQuery query;
    query.metrics = {"weight_bytes", "decode_tokens_per_s", "ttft_ms", "perplexity",
                     "kl_mean",      "top1_agreement"};
    ParallelChart chart;
    chart.resize(1280, 720);
    QElapsedTimer timer;
    timer.start();
    chart.setData(buildParallel(std::span<const fettle::ExperimentRecord* const>(pointers), query));
    const double build = static_cast<double>(timer.nsecsElapsed()) / 1e6;
    chart.show();
    QCoreApplication::processEvents();
    QImage target(chart.size(), QImage::Format_ARGB32_Premultiplied);
    const auto frame = [&] { chart.render(&target); };
    frame();
    const ParallelAxis axis = chart.data().axes[3];
    int step = 0;
    // A range that grows and shrinks over most of an axis: other lines in every frame.
    const double brush = medianMs(41, [&] {
        QMap<QString, MetricRange> ranges;
        ranges[axis.metric].high =
            axis.low + (axis.high - axis.low) * (0.3 + 0.015 * (step++ % 40));
        chart.setRanges(ranges);
        frame();
    });
    chart.setRanges({});
    const double all = medianMs(21, [&] {
        chart.setReversed(step++ % 2 ? QSet<QString>{axis.metric} : QSet<QString>{});
        frame();
    });
    const int pieces = chart.drawnPieces();
    const double hover = medianMs(41, [&] {
        chart.setHighlighted(2 + step++ % 50);
        frame();
    });
    std::printf(
        "%7d lines, %6d pieces drawn: build %7.1f ms, range frame %6.2f ms, all lines anew %6.2f "
        "ms, hover frame %6.2f ms\n",
        count, pieces, build, brush, all, hover);
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
    for (const int count : {100, 1000, 10000, 50000}) {
        benchParallel(count);
    }
    return 0;
}
