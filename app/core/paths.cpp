#include "app/core/paths.h"

#include <pwd.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

namespace fettle::app {
namespace {

namespace fs = std::filesystem;

/// An environment variable that holds an absolute path; the XDG specification says to ignore
/// relative ones.
fs::path absoluteFrom(const char* variable) {
    const char* text = std::getenv(variable);
    if (!text || *text == '\0')
        return {};
    const fs::path path(text);
    return path.is_absolute() ? path : fs::path{};
}

fs::path home() {
    if (fs::path path = absoluteFrom("HOME"); !path.empty())
        return path;
    if (const passwd* entry = getpwuid(getuid()); entry && entry->pw_dir && *entry->pw_dir)
        return entry->pw_dir;
    return fs::temp_directory_path();
}

fs::path folder(const char* variable, const char* insideHome, const char* insideFettleHome) {
    if (const char* own = std::getenv("FETTLE_HOME"); own && *own != '\0') {
        const fs::path root = fs::absolute(own);
        return *insideFettleHome == '\0' ? root : root / insideFettleHome;
    }
    fs::path base = absoluteFrom(variable);
    if (base.empty())
        base = home() / insideHome;
    return base / "fettle";
}

}  // namespace

fs::path dataFolder() {
    return folder("XDG_DATA_HOME", ".local/share", "");
}
fs::path cacheFolder() {
    return folder("XDG_CACHE_HOME", ".cache", "cache");
}
fs::path configFolder() {
    return folder("XDG_CONFIG_HOME", ".config", "config");
}

fs::path defaultDatabasePath() {
    return dataFolder() / "fettle.db";
}

fs::path artifactsRootFor(const fs::path& database) {
    const std::string stem = database.stem().string();
    return database.parent_path() / (stem == "fettle" ? "artifacts" : stem + "-artifacts");
}

fs::path logFile() {
    return cacheFolder() / "logs" / "fettle.log";
}

void ensureFolder(const fs::path& path) {
    fs::create_directories(path);
}

}  // namespace fettle::app
