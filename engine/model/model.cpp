#include "engine/model/model.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <map>

#include "engine/core/error.h"
#include "engine/io/mapped_file.h"

namespace fettle {
namespace {

namespace fs = std::filesystem;

bool holdsDemo(const fs::path& folder) {
    std::error_code ignored;
    return fs::is_directory(folder / "demo", ignored);
}

/// The type that holds most weights, and whether that is a quantization scheme.
struct Majority {
    std::string type;
    bool quantized = false;
};
Majority majorityType(const Model& model) {
    std::map<std::string, std::pair<std::int64_t, bool>> counts;
    for (const auto& [name, weight] : model.weights) {
        auto& entry = counts[weight.typeName()];
        entry.first += weight.elements();
        entry.second = weight.isQuantized();
    }
    Majority best;
    std::int64_t most = -1;
    for (const auto& [type, entry] : counts)
        if (entry.first > most) {
            most = entry.first;
            best = {type, entry.second};
        }
    return best;
}

/// The scheme most quantized weights have; the embedding may well outweigh them and stay plain.
std::string majorityScheme(const Model& model) {
    std::map<std::string, std::int64_t> counts;
    for (const auto& [name, weight] : model.weights)
        if (weight.isQuantized())
            counts[weight.typeName()] += weight.elements();
    std::string best;
    std::int64_t most = 0;
    for (const auto& [type, count] : counts)
        if (count > most) {
            most = count;
            best = type;
        }
    return best;
}

}  // namespace

const Weight& Model::weight(const std::string& canonical) const {
    const auto found = weights.find(canonical);
    if (found == weights.end())
        throwBadInput(path.empty() ? name : path, "missing tensor \"" + canonical + "\"");
    return found->second;
}

bool Model::hasLowRank() const {
    return std::any_of(weights.begin(), weights.end(),
                       [](const auto& entry) { return entry.second.hasLowRank(); });
}

std::uint64_t Model::weightBytes() const {
    std::uint64_t total = 0;
    for (const auto& [name, weight] : weights)
        total += weight.bytes();
    return total;
}

std::uint64_t Model::parameters() const {
    std::uint64_t total = 0;
    for (const auto& [name, weight] : weights)
        total += static_cast<std::uint64_t>(weight.elements());
    return total;
}

double Model::bitsPerWeight() const {
    const std::uint64_t count = parameters();
    return count > 0 ? 8.0 * static_cast<double>(weightBytes()) / static_cast<double>(count) : 0;
}

std::vector<std::string> linearWeightNames(const ModelConfig& config) {
    std::vector<std::string> names;
    const bool gated = config.feedForward != FeedForwardKind::GeluTanh;
    for (std::int64_t layer = 0; layer < config.layerCount(); ++layer) {
        const std::string prefix = "layers." + std::to_string(layer) + ".";
        for (const char* name :
             {"attn.q", "attn.k", "attn.v", "attn.o", "ffn.gate", "ffn.up", "ffn.down"})
            if (gated || std::string(name) != "ffn.gate")
                names.push_back(prefix + name + ".weight");
    }
    if (!config.tiedEmbeddings)
        names.push_back("lm_head.weight");
    return names;
}

int layerOf(const std::string& canonical) {
    constexpr std::string_view kPrefix = "layers.";
    if (!canonical.starts_with(kPrefix))
        return -1;
    int layer = -1;
    std::from_chars(canonical.data() + kPrefix.size(), canonical.data() + canonical.size(), layer);
    return layer;
}

ModelReport describeModel(const Model& model) {
    ModelReport report;
    report.path = model.path;
    report.name = model.name;
    report.format = model.format;
    report.architecture = model.config.architecture;
    report.hash = model.hash;
    report.parameters = model.parameters();
    report.layers = model.config.layerCount();
    report.hiddenSize = model.config.hiddenSize;
    report.heads = model.config.heads;
    report.kvHeads = model.config.kvHeads;
    report.headDim = model.config.headDim;
    report.feedForwardSize = model.config.feedForwardSize;
    report.vocabularySize = model.config.vocabularySize;
    report.contextLength = model.config.contextLength;
    report.dtype = majorityType(model).type;
    report.scheme = majorityScheme(model);
    if (model.tokenizer) {
        report.tokenizer = model.tokenizer->describe();
        report.hasChatTemplate = !model.tokenizer->chatTemplate().empty();
    }
    report.fileBytes = model.fileBytes;
    report.weightBytes = model.weightBytes();
    report.kvBytesPerToken = static_cast<std::uint64_t>(model.config.kvBytesPerToken());
    report.bitsPerWeight = model.bitsPerWeight();
    report.tensors = model.fileTensors;
    std::multimap<std::string, std::string> held;
    for (const auto& [canonical, file] : model.fileNames)
        held.emplace(file, canonical);
    for (TensorReport& tensor : report.tensors) {
        const auto [first, last] = held.equal_range(tensor.name);
        for (auto weight = first; weight != last; ++weight)
            tensor.weights.push_back(weight->second);
    }
    report.warnings = model.warnings;
    return report;
}

void refuseChangedFiles(const Model& model) {
    for (const auto& file : model.files)
        if (!file->intact())
            throwBadInput(file->path().string(), "the file changed on disk while it was in use");
}

fs::path resourcesFolder() {
    if (const char* set = std::getenv("FETTLE_RESOURCES"); set && *set)
        return set;
    std::error_code error;
    const fs::path binary = fs::read_symlink("/proc/self/exe", error);
    for (fs::path folder = binary.parent_path(); !error; folder = folder.parent_path()) {
        for (const fs::path& candidate : {folder / "resources", folder / "share" / "fettle"})
            if (holdsDemo(candidate))
                return candidate;
        if (folder == folder.parent_path())
            break;
    }
    return "resources";
}

}  // namespace fettle
