// Experiments in the layout of MLflow's file store, so that `mlflow ui --backend-store-uri DIR` and
// everything that reads it shows them beside other runs.
#pragma once

#include <filesystem>
#include <vector>

#include "engine/experiment/experiment_record.h"

namespace fettle::app {

/// Writes DIR/<experiment>/meta.yaml and one folder per experiment with meta.yaml, params/,
/// metrics/ and tags/. One MLflow experiment per model. The folder must not exist or be empty.
/// Throws storage::StorageError naming the file.
void exportMlflow(const std::vector<ExperimentDetail>& details,
                  const std::filesystem::path& folder);

}  // namespace fettle::app
