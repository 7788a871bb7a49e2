// The program's log: a rotating file in the cache folder, and standard error. Logging never throws
// and never ends a run: where the file cannot be written, standard error goes on alone. Any thread.
#pragma once

#include <filesystem>
#include <string_view>

namespace fettle::app {

enum class LogLevel { Debug, Info, Warning, Error, Off };

/// `console` is the least level that also goes to standard error; the file gets everything from
/// Info upwards (Debug with FETTLE_DEBUG set). An empty path means no file. May be called again to
/// change both.
void startLogging(const std::filesystem::path& file, LogLevel console = LogLevel::Warning) noexcept;
void flushLog() noexcept;

void logMessage(LogLevel level, std::string_view text) noexcept;
inline void logInfo(std::string_view text) noexcept {
    logMessage(LogLevel::Info, text);
}
inline void logWarning(std::string_view text) noexcept {
    logMessage(LogLevel::Warning, text);
}
inline void logError(std::string_view text) noexcept {
    logMessage(LogLevel::Error, text);
}

}  // namespace fettle::app
