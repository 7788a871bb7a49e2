// What every subcommand shares: the common options, the chosen action, and how a command is added.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "kernels/ops/products.h"

namespace fettle::cli {

inline constexpr int kExitDone = 0;
inline constexpr int kExitDoesNotHold = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitBadInput = 3;
inline constexpr int kExitCancelled = 130;

/// Options that all commands take, and what the parsed command line asks for.
struct CommandLine {
    bool json = false;
    std::string device = "cpu";
    int threads = 0;  ///< 0 = all
    kernels::Products products = kernels::Products::Float32;
    std::function<int()> action;  ///< returns the exit code; throws for errors
};

/// Adds a command with the common options; `action` runs after parsing, outside the parser.
CLI::App* addCommand(CLI::App& parent, CommandLine& line, const std::string& name,
                     const std::string& help, std::function<int()> action);

/// Throws EngineError for a device that this program cannot run on: Usage for a name that is none,
/// Device otherwise.
void requireDevice(const CommandLine& line);

}  // namespace fettle::cli
