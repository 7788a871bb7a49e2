#include "app/core/logging.h"

#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <memory>
#include <mutex>
#include <vector>

namespace fettle::app {
namespace {

constexpr std::size_t kFileBytes = 5 << 20;
constexpr std::size_t kFiles = 3;

std::mutex g_mutex;
std::shared_ptr<spdlog::logger> g_logger;  // guarded by g_mutex

spdlog::level::level_enum levelOf(LogLevel level) {
    switch (level) {
        case LogLevel::Debug:
            return spdlog::level::debug;
        case LogLevel::Info:
            return spdlog::level::info;
        case LogLevel::Warning:
            return spdlog::level::warn;
        case LogLevel::Error:
            return spdlog::level::err;
        case LogLevel::Off:
            break;
    }
    return spdlog::level::off;
}

spdlog::sink_ptr fileSink(const std::filesystem::path& file) {
    std::filesystem::create_directories(file.parent_path());
    auto sink =
        std::make_shared<spdlog::sinks::rotating_file_sink_mt>(file.string(), kFileBytes, kFiles);
    sink->set_level(std::getenv("FETTLE_DEBUG") ? spdlog::level::debug : spdlog::level::info);
    sink->set_pattern("%Y-%m-%d %H:%M:%S.%e %P %l %v");
    return sink;
}

std::shared_ptr<spdlog::logger> current() {
    const std::scoped_lock lock(g_mutex);
    return g_logger;
}

}  // namespace

void startLogging(const std::filesystem::path& file, LogLevel console) noexcept {
    try {
        std::vector<spdlog::sink_ptr> sinks;
        auto standardError = std::make_shared<spdlog::sinks::stderr_sink_mt>();
        standardError->set_level(levelOf(console));
        standardError->set_pattern("fettle: %v");
        sinks.push_back(standardError);
        std::string problem;
        try {
            if (!file.empty())
                sinks.push_back(fileSink(file));
        } catch (const std::exception& error) {
            problem = error.what();
        }
        auto logger = std::make_shared<spdlog::logger>("fettle", sinks.begin(), sinks.end());
        logger->set_level(spdlog::level::debug);
        logger->flush_on(spdlog::level::warn);
        logger->set_error_handler(
            [](const std::string&) {});  // a full disk must not fill standard error as well
        {
            const std::scoped_lock lock(g_mutex);
            g_logger = logger;
        }
        if (!problem.empty())
            logger->warn("no log file: {}", problem);
    } catch (...) {
        // Out of memory while starting: the program runs without a log.
    }
}

void flushLog() noexcept {
    try {
        if (const auto logger = current())
            logger->flush();
    } catch (...) {
        return;
    }
}

void logMessage(LogLevel level, std::string_view text) noexcept {
    try {
        if (const auto logger = current())
            logger->log(levelOf(level), "{}", std::string(text));
    } catch (...) {
        return;
    }
}

}  // namespace fettle::app
