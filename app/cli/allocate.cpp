// fettle-cli allocate --experiment ID --target-bits B: which scheme each weight would get under
// another budget, from the scores that a mixed-precision run left in the database. No model is
// read.
#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>

#include "app/cli/commands.h"
#include "app/cli/experiment_store.h"
#include "app/cli/output.h"
#include "engine/core/error.h"
#include "engine/experiment/bit_allocation.h"

namespace fettle::cli {

namespace {

struct AllocateArguments {
    std::string database;
    std::int64_t experiment = 0;
    double targetBits = 0;
    std::vector<std::string> pins;
};

/// "layers.0.attn.qkv=w8a16": that unit and no other choice.
void pin(std::vector<AllocationUnit>& units, const std::string& text) {
    const std::size_t sign = text.find('=');
    const std::string name = text.substr(0, sign),
                      scheme = sign == std::string::npos ? "" : text.substr(sign + 1);
    const auto unit = std::find_if(units.begin(), units.end(),
                                   [&](const AllocationUnit& each) { return each.name == name; });
    if (unit == units.end())
        throw EngineError(ErrorKind::Usage, "--pin " + text + ": there is no unit " + name);
    const auto choice =
        std::find_if(unit->choices.begin(), unit->choices.end(),
                     [&](const SchemeChoice& each) { return each.scheme == scheme; });
    if (choice == unit->choices.end())
        throw EngineError(ErrorKind::Usage,
                          "--pin " + text + ": " + name + " was not scored as \"" + scheme + "\"");
    unit->pinned = static_cast<int>(choice - unit->choices.begin());
}

int allocate(const CommandLine& line, const AllocateArguments& options) {
    const ExperimentStore store(options.database, ExperimentStore::Mode::Existing);
    const ExperimentDetail detail = store.detail(options.experiment);
    std::vector<AllocationUnit> units = allocationUnitsFrom(detail.layerMetrics);
    const auto counted = detail.record.metrics.find("mixed_weights");
    if (units.empty() || counted == detail.record.metrics.end())
        throw EngineError(ErrorKind::Usage,
                          "experiment " + std::to_string(options.experiment) +
                              " holds no scores of its weights: run ptq with target_bits first");
    for (const std::string& text : options.pins)
        pin(units, text);
    const double weights = counted->second.value;
    const BitAllocation found = allocateBits(units, options.targetBits / 8 * weights);
    nlohmann::json list = nlohmann::json::array();
    std::vector<std::vector<std::string>> rows;
    for (std::size_t u = 0; u < units.size(); ++u) {
        const SchemeChoice& choice = units[u].choices[found.chosen[u]];
        list.push_back({{"unit", units[u].name},
                        {"layer", units[u].layer},
                        {"scheme", choice.scheme},
                        {"bytes", choice.bytes},
                        {"loss", choice.loss}});
        char loss[32];
        std::snprintf(loss, sizeof loss, "%.3g", choice.loss);
        rows.push_back({units[u].name, choice.scheme, formatBytes(choice.bytes), loss});
    }
    const double bits = found.bytes * 8 / weights;
    if (line.json) {
        printJson({{"within_budget", found.withinBudget},
                   {"bits_per_weight", bits},
                   {"bytes", found.bytes},
                   {"predicted_loss", found.loss},
                   {"schemes", schemeAssignments(units, found)},
                   {"units", list}});
    } else {
        printTable({"weights", "scheme", "size", "predicted loss"}, rows);
        std::printf("\n%.3f bits per weight, %s, predicted loss %.4g%s\n", bits,
                    formatBytes(found.bytes).c_str(), found.loss,
                    found.withinBudget ? "" : ": the smallest schemes are larger than that");
    }
    return found.withinBudget ? kExitDone : kExitDoesNotHold;
}

}  // namespace

void addAllocate(CLI::App& app, CommandLine& line) {
    const auto options = std::make_shared<AllocateArguments>();
    CLI::App* command = addCommand(app, line, "allocate",
                                   "Choose a scheme per weight again, under another budget, from "
                                   "the scores of a mixed-precision run",
                                   [&line, options] { return allocate(line, *options); });
    command->add_option("--experiment", options->experiment, "A run of ptq with target_bits")
        ->required();
    command->add_option("--target-bits", options->targetBits, "Bits per weight, scales included")
        ->required();
    command->add_option("--pin", options->pins, "UNIT=SCHEME: keep that choice; may be repeated");
    addDatabaseOption(*command, options->database);
}

}  // namespace fettle::cli
