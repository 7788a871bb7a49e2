// The things experiments refer to: models, datasets, devices, recipes. Each `ensure` returns the id
// of the row that says the same, made if there is none. On the thread of its Database.
#pragma once

#include <cstdint>
#include <string>

#include "engine/experiment/model_report.h"
#include "engine/experiment/run_values.h"
#include "storage/database.h"

namespace fettle::storage {

class CatalogueRepository {
public:
    explicit CatalogueRepository(Database& database) : m_database(database) {}

    /// `hash` may be empty while nobody has read the file.
    std::int64_t ensureModel(const std::string& path, const std::string& hash);
    /// Adds what inspecting found out (architecture, parameters, size) to the rows of that path and
    /// hash.
    void describeModel(const ModelReport& report);
    /// `role`: "calibration", "train", "evaluate", "tasks".
    std::int64_t ensureDataset(const std::string& path, const std::string& role);
    std::int64_t ensureDevice(const RunResult& result);
    std::int64_t ensureRecipe(const Recipe& recipe);

private:
    Database& m_database;
};

/// What a model is called in lists: its file or folder name without ".gguf".
std::string modelNameFromPath(const std::string& path);

}  // namespace fettle::storage
