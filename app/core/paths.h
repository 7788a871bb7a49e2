// Where Fettle keeps its files: the XDG folders, or one folder when FETTLE_HOME is set (portable
// use, tests).
#pragma once

#include <filesystem>

namespace fettle::app {

/// Nothing here creates anything, but for `ensureFolder`.
std::filesystem::path
dataFolder();  ///< $FETTLE_HOME, else $XDG_DATA_HOME/fettle, else ~/.local/share/fettle
std::filesystem::path
cacheFolder();  ///< $FETTLE_HOME/cache, else $XDG_CACHE_HOME/fettle, else ~/.cache/fettle
std::filesystem::path
configFolder();  ///< $FETTLE_HOME/config, else $XDG_CONFIG_HOME/fettle, else ~/.config/fettle

std::filesystem::path defaultDatabasePath();  ///< dataFolder()/fettle.db
/// The folder of artifacts that belongs to a database: "<name without ending>-artifacts" beside it;
/// "artifacts" for the default database.
std::filesystem::path artifactsRootFor(const std::filesystem::path& database);
std::filesystem::path logFile();  ///< cacheFolder()/logs/fettle.log

/// Makes the folder and its parents. Throws std::filesystem::filesystem_error, which names path and
/// cause.
void ensureFolder(const std::filesystem::path& folder);

}  // namespace fettle::app
