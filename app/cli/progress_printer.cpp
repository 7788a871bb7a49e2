#include "app/cli/progress_printer.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "engine/experiment/measurement.h"

namespace fettle::cli {

namespace {

constexpr double kRedrawSeconds = 0.1;
constexpr double kLineSeconds = 5;
constexpr int kBarWidth = 24;

std::string percentText(double fraction) {
    if (fraction < 0)
        return "";
    return std::to_string(static_cast<int>(std::lround(100 * std::min(1.0, fraction)))) + "%";
}

std::string rateText(const JobProgress& progress) {
    std::string text;
    if (progress.tokensPerSecond > 0) {
        char rate[48];
        std::snprintf(rate, sizeof rate, ", %.0f tokens/s", progress.tokensPerSecond);
        text += rate;
    }
    if (progress.secondsLeft >= 1)
        text += ", " + formatDuration(progress.secondsLeft) + " left";
    return text;
}

std::size_t terminalColumns() {
    winsize size{};
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

ProgressPrinter::ProgressPrinter() : m_terminal(isatty(STDERR_FILENO) == 1) {}

ProgressPrinter::~ProgressPrinter() {
    clear();
}

void ProgressPrinter::clear() {
    if (m_shown)
        std::fputs("\r\033[K", stderr);
    m_shown = false;
}

void ProgressPrinter::line(const std::string& text) {
    clear();
    std::fprintf(stderr, "%s%s%s\n", m_title.c_str(), m_title.empty() ? "" : ": ", text.c_str());
}

void ProgressPrinter::drawBar(const JobProgress& progress) {
    const int filled =
        static_cast<int>(std::lround(kBarWidth * std::clamp(progress.fraction, 0.0, 1.0)));
    std::string text = m_title.empty() ? "" : m_title + "  ";
    text += "[" + std::string(static_cast<std::size_t>(filled), '#') +
            std::string(static_cast<std::size_t>(kBarWidth - filled), '.') + "] ";
    text += percentText(progress.fraction) + " " + progress.phase;
    if (!progress.detail.empty())
        text += ", " + progress.detail;
    text += rateText(progress);
    if (const std::size_t columns = terminalColumns(); text.size() >= columns)
        text.resize(columns - 1);
    std::fprintf(stderr, "\r\033[K%s", text.c_str());
    m_shown = true;
}

void ProgressPrinter::progress(const JobProgress& progress) {
    if (m_streamText && progress.phase == "Generating")
        return clear();  // the text itself shows how far it is
    const double now = steadySeconds();
    const bool newPhase = progress.phase != m_phase;
    if (newPhase)
        m_phaseStart = now;
    // Lines come ever more slowly: a log of an hour is not worth a thousand lines.
    const double pause =
        m_terminal ? kRedrawSeconds : std::max(kLineSeconds, (now - m_phaseStart) / 5);
    if (!newPhase && now - m_lastPrint < pause)
        return;
    m_phase = progress.phase;
    m_lastPrint = now;
    if (m_terminal)
        return drawBar(progress);
    std::string text = progress.phase;
    if (!progress.detail.empty() && !newPhase)
        text += ", " + progress.detail;
    line(text + " (" + percentText(progress.fraction) + rateText(progress) + ")");
}

void ProgressPrinter::log(JobLog::Level level, const std::string& text) {
    const char* prefix = level == JobLog::Level::Info      ? ""
                         : level == JobLog::Level::Warning ? "warning: "
                                                           : "error: ";
    line(prefix + text);
}

void ProgressPrinter::stepFinished(const StepReport& step) {
    line("step " + std::to_string(step.index + 1) + " (" + step.technique + ") took " +
         formatDuration(step.seconds));
}

void ProgressPrinter::text(const std::string& piece) {
    if (!m_streamText)
        return;
    clear();
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
}

}  // namespace fettle::cli
