// Where the reference models are; tests that need them skip in words where they are not.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

namespace fettle::test {

/// A sanitizer makes everything some ten times slower: tests that repeat one thing hundreds of
/// times repeat it less often there; nothing new is touched by the rest.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

inline std::filesystem::path fixture(const std::string& name) {
    return std::filesystem::path(FETTLE_FIXTURES) / name;
}

inline nlohmann::json readJson(const std::filesystem::path& path) {
    std::ifstream file(path);
    return nlohmann::json::parse(file);
}

}  // namespace fettle::test

#define FETTLE_NEED_FILE(path)                                                      \
    do {                                                                            \
        if (!std::filesystem::exists(path))                                         \
            GTEST_SKIP() << "needs " << (path) << ", which is not on this machine"; \
    } while (false)
