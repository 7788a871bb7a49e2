#include "app/core/experiment_exchange.h"

#include <fstream>
#include <iterator>

#include "storage/storage_error.h"
#include "storage/transaction.h"

namespace fettle::app {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using storage::StorageError;

std::string contentOf(const fs::path& file) {
    std::error_code failed;
    if (!fs::is_regular_file(file, failed))
        throw StorageError(file.string(), "there is no such file");
    std::ifstream stream(file, std::ios::binary);
    std::string text{std::istreambuf_iterator<char>(stream), {}};
    if (!stream)
        throw StorageError(file.string(), "cannot be read");
    return text;
}

bool isDatabase(const fs::path& file) {
    std::ifstream stream(file, std::ios::binary);
    std::string head(15, '\0');
    stream.read(head.data(), static_cast<std::streamsize>(head.size()));
    return head == "SQLite format 3";
}

std::vector<ExperimentDetail> detailsIn(const fs::path& file) {
    const json document = json::parse(contentOf(file), nullptr, false);
    const json* list = document.is_object() && document.contains("experiments")
                           ? &document["experiments"]
                           : &document;
    if (!list->is_array())
        throw StorageError(file.string(),
                           "is neither an experiment database nor a JSON list of experiments");
    std::vector<ExperimentDetail> details;
    for (std::size_t i = 0; i < list->size(); ++i) {
        const auto fail = [&](const std::exception& error) {
            throw StorageError(file.string(),
                               "entry " + std::to_string(i + 1) + ": " + error.what());
        };
        try {
            details.push_back(experimentDetailFromJson((*list)[i]));
        } catch (const json::exception& error) {
            fail(error);
        } catch (const RecipeError& error) {
            fail(error);
        }
    }
    return details;
}

}  // namespace

std::string experimentsJson(const std::vector<ExperimentDetail>& details) {
    json list = json::array();
    for (const ExperimentDetail& detail : details)
        list.push_back(toJson(detail));
    return list.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

storage::ImportCounts importExperiments(storage::Database& database, const fs::path& file) {
    storage::ExperimentImporter importer(database);
    if (isDatabase(file)) {
        std::error_code failed;
        if (fs::equivalent(file, database.path(), failed))
            throw StorageError(file.string(), "is the database to import into");
        storage::OpenOptions options;
        options.create = false;
        options.readOnly = true;
        const storage::Database other = storage::Database::open(file, options);
        importer.addAll(other);
        return importer.counts();
    }
    const std::vector<ExperimentDetail> details = detailsIn(file);
    storage::Transaction transaction(database);
    for (const ExperimentDetail& detail : details)
        importer.add(detail);
    transaction.commit();
    return importer.counts();
}

}  // namespace fettle::app
