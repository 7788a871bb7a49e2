#include "engine/io/low_rank_adapter.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "engine/core/error.h"
#include "engine/io/mapped_file.h"
#include "engine/io/safetensors_reader.h"
#include "engine/io/safetensors_writer.h"
#include "engine/io/strict_json.h"
#include "engine/model/architectures/architecture.h"
#include "engine/model/weight_reader.h"

namespace fettle {

namespace {

namespace fs = std::filesystem;

constexpr const char* kWeights = "adapter_model.safetensors";
constexpr const char* kPrefix = "base_model.model.";
constexpr const char* kIn = ".lora_A.weight";
constexpr const char* kOut = ".lora_B.weight";
constexpr const char* kWeightSuffix = ".weight";

/// The module of a place; of a part of a fused tensor, with the part's own name behind it.
std::string moduleOf(const TensorPlace& place, const ModelConfig& config) {
    std::string module =
        place.huggingFace.substr(0, place.huggingFace.size() - std::strlen(kWeightSuffix));
    if (fusedRows(place, config).total == place.rows)
        return module;
    const std::string canonical =
        place.canonical.substr(0, place.canonical.size() - std::strlen(kWeightSuffix));
    return module + canonical.substr(canonical.rfind('.'));
}

TensorToWrite tensorOf(const std::string& name, const Tensor& tensor) {
    return {name, tensor.dtype(), tensor.shape(), [tensor](FileWriter& file) {
                file.write({reinterpret_cast<const char*>(tensor.data()), tensor.bytes()});
            }};
}

/// What the loader of PEFT asks for. Ranks that differ from the usual one are named.
nlohmann::json configOf(const std::map<std::string, std::int64_t>& ranks) {
    std::map<std::int64_t, int> counts;
    std::set<std::string> targets;
    for (const auto& [module, rank] : ranks) {
        ++counts[rank];
        targets.insert(module.substr(module.rfind('.') + 1));
    }
    const std::int64_t usual =
        std::max_element(counts.begin(), counts.end(), [](const auto& a, const auto& b) {
            return a.second < b.second;
        })->first;
    nlohmann::json pattern = nlohmann::json::object();
    for (const auto& [module, rank] : ranks)
        if (rank != usual)
            pattern[module] = rank;
    return {
        {"peft_type", "LORA"},       {"task_type", "CAUSAL_LM"}, {"r", usual},
        {"lora_alpha", usual},       {"rank_pattern", pattern},  {"alpha_pattern", pattern},
        {"target_modules", targets}, {"lora_dropout", 0.0},      {"bias", "none"},
        {"fan_in_fan_out", false},   {"inference_mode", true},   {"base_model_name_or_path", ".."}};
}

}  // namespace

void writeLowRankAdapter(const Model& model, const fs::path& folder, RunControl& control) {
    std::vector<TensorToWrite> tensors;
    std::map<std::string, std::int64_t> ranks;
    for (const TensorPlace& place : tensorPlaces(model.config)) {
        control.check();
        const auto found = model.weights.find(place.canonical);
        if (found == model.weights.end() || !found->second.hasLowRank())
            continue;
        const QuantizedTensor& weight = found->second.quantized();
        const std::string module = moduleOf(place, model.config);
        tensors.push_back(tensorOf(kPrefix + module + kIn, weight.lowRankIn));
        tensors.push_back(tensorOf(kPrefix + module + kOut, weight.lowRankOut));
        ranks[module] = weight.lowRankIn.dim(0);
    }
    fs::create_directories(folder);
    writeSafetensors(folder / kWeights, std::move(tensors),
                     [](const std::string&, std::uint64_t) {});
    FileWriter config(folder / "adapter_config.json");
    config.write(configOf(ranks).dump(2) + "\n");
    config.finish();
}

void readLowRankAdapter(const fs::path& folder, Model& model) {
    const auto file = MappedFile::open(folder / kWeights);
    const StoredTensors tensors = readSafetensors(file);
    std::size_t used = 0;
    for (const TensorPlace& place : tensorPlaces(model.config)) {
        const std::string module = kPrefix + moduleOf(place, model.config);
        const auto in = tensors.find(module + kIn), out = tensors.find(module + kOut);
        if (in == tensors.end() && out == tensors.end())
            continue;
        const auto weight = model.weights.find(place.canonical);
        if (in == tensors.end() || out == tensors.end() || weight == model.weights.end() ||
            !weight->second.isQuantized())
            throwBadInput(file->path().string(),
                          "corrects " + inQuotes(module) + ", which the model does not have so");
        QuantizedTensor corrected = weight->second.quantized();
        corrected.lowRankIn = in->second.tensor;
        corrected.lowRankOut = out->second.tensor;
        if (!fitsLowRank(corrected))
            throwBadInput(file->path().string(), inQuotes(module) + " does not fit the weight of " +
                                                     toString(weight->second.shape()));
        weight->second = Weight(std::move(corrected));
        used += 2;
    }
    if (used != tensors.size())
        throwBadInput(file->path().string(),
                      "holds " + std::to_string(tensors.size() - used) +
                          " tensors for modules that the model does not have");
    model.files.push_back(file);
    model.fileBytes += file->size();
}

}  // namespace fettle
