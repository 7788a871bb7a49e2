// Experiments as files for other programs: CSV for spreadsheets, JSON for scripts.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "engine/experiment/experiment_record.h"

namespace fettle::app {

/// RFC 4180 with "\n": a head, then one line per experiment. Every metric that one of them has is a
/// column, in the catalogue's order, followed by <metric>_low and <metric>_high where there are
/// intervals, <metric>_native where some number was taken through dequantization and
/// <metric>_estimated where some number was computed. Numbers in full precision; unknown ones are
/// empty cells. Times are UTC.
std::string experimentsCsv(const std::vector<ExperimentRecord>& records);
/// A list of toJson(ExperimentRecord).
std::string experimentsJson(const std::vector<ExperimentRecord>& records);
/// One cell, quoted where commas, quotes or line ends ask for it. Text that a spreadsheet would
/// take for a formula gets an apostrophe in front.
std::string csvCell(const std::string& text);

/// Writes JSON for a path that ends in .json, else CSV; whole or not at all. Throws
/// storage::StorageError.
void exportExperiments(const std::vector<ExperimentRecord>& records,
                       const std::filesystem::path& file);

}  // namespace fettle::app
