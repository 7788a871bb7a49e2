#include "engine/model/draft_heads.h"

#include "engine/core/error.h"
#include "engine/io/mapped_file.h"
#include "engine/io/safetensors_reader.h"
#include "engine/io/safetensors_writer.h"
#include "engine/io/strict_json.h"
#include "engine/model/eagle_head.h"
#include "engine/tensor/weight.h"

namespace fettle {

namespace {

constexpr const char* kWeightsFile = "model.safetensors";

/// "medusa" by its type; "eagle" by what is written here, or in folders of others by one layer
/// behind a fusion.
std::string kindOf(const std::filesystem::path& folder, const nlohmann::json& config) {
    const auto says = [&](const char* key, const char* what) {
        const auto found = config.find(key);
        return found != config.end() && found->is_string() && *found == what;
    };
    if (says("model_type", "medusa"))
        return "medusa";
    if (says("draft_head", kEagle))
        return kEagle;
    const auto layers = config.find("num_hidden_layers");
    const std::filesystem::path weights = folder / kWeightsFile;
    std::error_code ignored;
    if (layers == config.end() || *layers != 1 || !std::filesystem::exists(weights, ignored))
        return {};
    return readSafetensors(MappedFile::open(weights)).contains("fc.weight") ? kEagle : "";
}

}  // namespace

std::vector<float> DraftHeads::values(const std::string& name, const Shape& shape) const {
    const auto found = tensors.find(name);
    if (found == tensors.end())
        throwBadInput(path, "has no tensor " + name);
    if (found->second.shape() != shape)
        throwBadInput(path, name + " has shape " + toString(found->second.shape()) +
                                ", the configuration asks for " + toString(shape));
    return Weight(found->second).toFloat();
}

std::int64_t DraftHeads::number(const char* key, std::int64_t most) const {
    const auto found = config.find(key);
    if (found == config.end() || !found->is_number_integer())
        throwBadInput(path, std::string("config.json: \"") + key + "\" is missing or no number");
    const auto value = found->get<std::int64_t>();
    if (value < 1 || value > most)
        throwBadInput(path, std::string("config.json: \"") + key + "\" is " +
                                std::to_string(value) + ", expected 1 to " + std::to_string(most));
    return value;
}

std::vector<float> outputRows(const Model& model, const std::vector<std::int32_t>& tokens) {
    const kernels::WeightView output =
        model.weight(model.has("lm_head.weight") ? "lm_head.weight" : "embed.weight").view();
    const auto width = static_cast<std::size_t>(model.config.hiddenSize);
    std::vector<float> rows(tokens.size() * width);
    for (std::size_t row = 0; row < tokens.size(); ++row)
        kernels::dequantizeRow(output, tokens[row], rows.data() + row * width);
    return rows;
}

bool holdsDraftHeads(const std::filesystem::path& folder) {
    std::error_code ignored;
    const std::filesystem::path file = folder / "config.json";
    if (!std::filesystem::is_regular_file(file, ignored))
        return false;
    return !kindOf(folder, readJsonObject(file)).empty();
}

DraftHeads readDraftHeads(const std::filesystem::path& folder) {
    DraftHeads heads;
    heads.path = folder.string();
    heads.config = readJsonObject(folder / "config.json");
    heads.kind = kindOf(folder, heads.config);
    if (heads.kind.empty())
        throwBadInput(heads.path, "config.json describes no heads that are known here");
    const auto file = MappedFile::open(folder / kWeightsFile);
    for (auto& [name, stored] : readSafetensors(file)) {
        if (!plainFormat(stored.tensor.dtype()) && stored.tensor.dtype() != DType::I64 &&
            stored.tensor.dtype() != DType::I32)
            throwBadInput(heads.path, name + " is " + stored.type + ", not a float type");
        heads.tensors[name] = stored.tensor;
    }
    return heads;
}

std::uint64_t writeDraftHeads(const DraftHeads& heads, const std::filesystem::path& folder,
                              RunControl& control) {
    std::vector<TensorToWrite> tensors;
    std::uint64_t bytes = 0;
    for (const auto& [name, tensor] : heads.tensors) {
        control.check();
        bytes += tensor.bytes();
        tensors.push_back(
            {name, tensor.dtype(), tensor.shape(), [&tensor](FileWriter& out) {
                 out.write({reinterpret_cast<const char*>(tensor.data()), tensor.bytes()});
             }});
    }
    std::filesystem::create_directories(folder);
    writeSafetensors(folder / kWeightsFile, std::move(tensors),
                     [](const std::string&, std::uint64_t) {});
    const std::string text = heads.config.dump(2) + "\n";
    FileWriter writer(folder / "config.json");
    writer.write(text);
    writer.finish();
    return bytes + text.size();
}

}  // namespace fettle
