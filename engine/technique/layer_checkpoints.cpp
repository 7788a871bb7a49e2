#define XXH_INLINE_ALL
#include "engine/technique/layer_checkpoints.h"

#include <xxhash.h>

#include <algorithm>

#include "engine/core/error.h"
#include "engine/io/weight_file.h"

namespace fettle {

namespace {

constexpr const char* kStream = "stream";
// Of the files; another number makes those of older versions count as absent.
constexpr int kVersion = 1;

Tensor toTensor(const std::vector<float>& values) {
    Tensor tensor = Tensor::allocate(DType::F32, {static_cast<std::int64_t>(values.size())});
    std::copy(values.begin(), values.end(), tensor.mutableAs<float>());
    return tensor;
}

const std::byte* memoryOf(const Weight& weight) {
    return weight.isQuantized() ? weight.quantized().codes.data() : weight.dense().data();
}

std::string hex(XXH64_hash_t hash) {
    char digits[17];
    std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(hash));
    return digits;
}

}  // namespace

LayerCheckpoints::LayerCheckpoints(std::filesystem::path folder, std::string key,
                                   RunControl& control)
    : m_folder(std::move(folder)), m_key(std::move(key)), m_control(control) {
    if (!active())
        return;
    try {
        findDone();
    } catch (const EngineError& error) {
        m_done = 0;
        m_stream.clear();
        m_control.warn(std::string(error.what()) + "; the layers are worked out again");
    }
}

std::filesystem::path LayerCheckpoints::layerFile(std::int64_t layer) const {
    return m_folder / ("layer-" + std::to_string(layer) + ".safetensors");
}

std::filesystem::path LayerCheckpoints::streamFile() const {
    return m_folder / "stream.safetensors";
}

void LayerCheckpoints::findDone() {
    const auto found = readWeightFile(streamFile());
    if (!found || found->state.value("version", 0) != kVersion ||
        found->state.value("key", "") != m_key)
        return;
    m_done = found->state.value("layers", std::int64_t{0});
    for (std::int64_t i = 0; i < m_done; ++i) {
        const auto layer = readWeightFile(layerFile(i));
        if (!layer || layer->state.value("key", "") != m_key)
            throwBadInput(layerFile(i).string(), "is not the layer that was finished");
    }
    if (const auto stream = found->weights.find(kStream); stream != found->weights.end())
        m_stream = stream->second.toFloat();
}

void LayerCheckpoints::restore(Model& model, std::vector<LayerMetric>& metrics) {
    for (std::int64_t i = 0; i < m_done; ++i) {
        auto layer = readWeightFile(layerFile(i));
        if (!layer)
            throwBadInput(layerFile(i).string(), "is gone");
        for (auto& [name, weight] : layer->weights)
            model.weights[name] = std::move(weight);
        for (const nlohmann::json& each : layer->state.at("metrics"))
            metrics.push_back({each.at(0).get<int>(), each.at(1).get<std::string>(),
                               each.at(2).get<std::string>(), each.at(3).get<double>()});
    }
}

void LayerCheckpoints::save(std::int64_t layer, const Model& before, Model& model,
                            const std::vector<LayerMetric>& metrics, std::size_t firstMetric,
                            const std::vector<float>& stream) {
    if (!active())
        return;
    std::filesystem::create_directories(m_folder);
    WeightFile file;
    for (const auto& [name, weight] : model.weights) {
        if (layerOf(name) != layer)
            continue;
        const auto old = before.weights.find(name);
        if (old == before.weights.end() || memoryOf(old->second) != memoryOf(weight))
            file.weights.emplace(name, weight);
    }
    nlohmann::json values = nlohmann::json::array();
    for (std::size_t i = firstMetric; i < metrics.size(); ++i)
        values.push_back({metrics[i].layer, metrics[i].tensor, metrics[i].name, metrics[i].value});
    file.state = {{"key", m_key}, {"metrics", values}};
    writeWeightFile(layerFile(layer), file);
    auto written = readWeightFile(layerFile(layer));
    for (auto& [name, weight] : written->weights)
        model.weights[name] = std::move(weight);

    WeightFile behind;
    behind.state = {{"version", kVersion}, {"key", m_key}, {"layers", layer + 1}};
    if (!stream.empty())
        behind.weights.emplace(kStream, Weight(toTensor(stream)));
    writeWeightFile(streamFile(), behind);
}

std::string fingerprint(const std::string& text) {
    return hex(XXH3_64bits(text.data(), text.size()));
}

std::string fingerprint(const Model& model) {
    XXH3_state_t* state = XXH3_createState();
    XXH3_64bits_reset(state);
    const std::string config = modelConfigToHuggingFace(model.config)
                                   .dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
    XXH3_64bits_update(state, config.data(), config.size());
    std::vector<float> row;
    for (const auto& [name, weight] : model.weights) {
        const std::string what = name + " " + weight.typeName() + " " + toString(weight.shape());
        XXH3_64bits_update(state, what.data(), what.size());
        const kernels::WeightView view = weight.view();
        row.resize(static_cast<std::size_t>(view.cols));
        for (const std::int64_t r : {std::int64_t{0}, view.rows - 1}) {
            weight.rowToFloat(r, row.data());
            XXH3_64bits_update(state, row.data(), row.size() * sizeof(float));
        }
    }
    const XXH64_hash_t hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return hex(hash);
}

}  // namespace fettle
