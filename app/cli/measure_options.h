// Options of the measuring protocol, the same for evaluate, run, sweep and demo.
#pragma once

#include <CLI/CLI.hpp>

#include "engine/experiment/run_values.h"

namespace fettle::cli {

/// --context, --max-tokens, --protocol. `maxTokens` is the default that the command wants.
void addAccuracyOptions(CLI::App& command, MeasureOptions& measure, std::int64_t maxTokens);
/// --prompt-tokens, --new-tokens, --repeats.
void addSpeedOptions(CLI::App& command, MeasureOptions& measure);
/// --kv-cache.
void addKvCacheOption(CLI::App& command, std::string& kvCache);
/// --draft, --draft-tokens, --draft-tree.
void addDraftOptions(CLI::App& command, std::string& draft, std::string& draftTokens,
                     std::string& draftTree);

}  // namespace fettle::cli
