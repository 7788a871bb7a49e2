// A folder that goes away, and experiments to put into it.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "engine/experiment/experiment_record.h"
#include "storage/database.h"
#include "storage/experiment_reader.h"
#include "storage/experiment_repository.h"
#include "storage/measurement_repository.h"

namespace fettle::storage {

class TemporaryFolder {
public:
    TemporaryFolder() {
        std::string name =
            (std::filesystem::temp_directory_path() / "fettle-storage-XXXXXX").string();
        if (!mkdtemp(name.data()))
            throw std::runtime_error("no temporary folder");
        m_path = name;
    }
    ~TemporaryFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(m_path, ignored);
    }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    const std::filesystem::path& path() const { return m_path; }

private:
    std::filesystem::path m_path;
};

class StorageTest : public ::testing::Test {
protected:
    std::filesystem::path folder() const { return m_folder.path(); }
    std::filesystem::path file() const { return m_folder.path() / "fettle.db"; }

private:
    TemporaryFolder m_folder;
};

inline RunRequest requestOf(const std::string& scheme, const std::string& model = "/models/tiny") {
    RunRequest request;
    request.modelPath = model;
    if (!scheme.empty())
        request.recipe.steps = {{"ptq", {{"scheme", scheme}}}};
    request.inputs.evaluate = "/texts/wiki.txt";
    return request;
}

inline Measurement metricOf(const std::string& name, double value) {
    return {name, value, "", {}, {}, true, false, ""};
}

inline RunResult resultOf(double perplexity) {
    RunResult result;
    result.modelHash = "hash-of-tiny";
    result.deviceName = "test cpu";
    result.deviceKind = "cpu";
    result.deviceIsa = "AVX2";
    result.deviceMemory = 1 << 30;
    result.steps = {{0, "ptq", {{"scheme", "int8"}}, 1.5}};
    result.metrics = {{"perplexity", perplexity, "", perplexity - 0.5, perplexity + 0.5, true,
                       false, "ppl windows=256"},
                      {"decode_tokens_per_s", 50, "tokens/s", {}, {}, false, false, "speed"},
                      {"weight_bytes", 1e6, "bytes", {}, {}, true, true, ""}};
    result.layerMetrics = {{0, "layers.0.q", "sqnr_db", 40}, {-1, "head", "sqnr_db", 30}};
    result.samples = {{"Once", " upon a time"}};
    result.trace.emplace();
    result.trace->protocol = "ppl windows=256";
    result.trace->blocks = {{255, 500.5, 0, 0}};
    result.trace->tokens = {{"Once", true, 2.5, 0, 0}};
    return result;
}

inline std::string textIn(const std::filesystem::path& file) {
    std::ifstream stream(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
}

inline void writeText(const std::filesystem::path& file, const std::string& text) {
    std::ofstream(file, std::ios::binary) << text;
}

}  // namespace fettle::storage
