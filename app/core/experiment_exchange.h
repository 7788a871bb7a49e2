// Experiments in and out of a database as a whole: JSON with everything that is stored, and the
// merging of another database or of such a file.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "engine/experiment/experiment_record.h"
#include "storage/database.h"
#include "storage/experiment_importer.h"

namespace fettle::app {

/// A list of toJson(ExperimentDetail): what importExperiments reads.
std::string experimentsJson(const std::vector<ExperimentDetail>& details);

/// Takes the experiments of `file`, a database or JSON, over into `database`: all or none.
/// Optimized models stay where they are. Throws storage::StorageError naming the file and what is
/// wrong.
storage::ImportCounts importExperiments(storage::Database& database,
                                        const std::filesystem::path& file);

}  // namespace fettle::app
