// Charts of the command line, drawn by the window's own chart classes; a build without the window
// draws none.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "engine/experiment/experiment_record.h"

namespace fettle::cli {

/// Writes `name`.svg and `name`.png of y over x into `folder`; returns the files written. Main
/// thread only.
std::vector<std::string> writeCharts(const std::vector<ExperimentRecord>& records,
                                     const std::filesystem::path& folder, const std::string& name,
                                     const std::string& x, const std::string& y);

}  // namespace fettle::cli
