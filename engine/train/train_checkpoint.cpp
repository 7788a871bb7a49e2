#include "engine/train/train_checkpoint.h"

#include <algorithm>

#include "engine/io/safetensors_reader.h"
#include "engine/io/safetensors_writer.h"
#include "engine/io/strict_json.h"

namespace fettle {

namespace {

constexpr const char* kState = "state";
// Written at once between two cancellation points.
constexpr std::size_t kWriteFloats = std::size_t{1} << 20;

}  // namespace

std::filesystem::path checkpointFile(const std::filesystem::path& folder) {
    return folder / "checkpoint.safetensors";
}

void writeTrainCheckpoint(const std::filesystem::path& folder, const nlohmann::json& state,
                          const std::map<std::string, std::span<const float>>& vectors,
                          RunControl& control) {
    const std::string text = state.dump();
    std::vector<TensorToWrite> tensors;
    std::uint64_t bytes = text.size();
    tensors.push_back(
        {kState, DType::U8, {static_cast<std::int64_t>(text.size())}, [&text](FileWriter& file) {
             file.write(text);
         }});
    for (const auto& [name, values] : vectors) {
        bytes += values.size_bytes();
        tensors.push_back({name,
                           DType::F32,
                           {static_cast<std::int64_t>(values.size())},
                           [part = values, &control](FileWriter& file) mutable {
                               while (!part.empty()) {
                                   const auto now = part.first(std::min(kWriteFloats, part.size()));
                                   file.write(now.data(), now.size_bytes());
                                   part = part.subspan(now.size());
                                   control.check();
                               }
                           }});
    }
    StagedOutput output(checkpointFile(folder), StagedOutput::Kind::File, bytes);
    writeSafetensors(output.path(), std::move(tensors), [](const std::string&, std::uint64_t) {});
    output.commit();
}

std::optional<TrainCheckpoint> readTrainCheckpoint(const std::filesystem::path& folder) {
    const std::filesystem::path path = checkpointFile(folder);
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored))
        return std::nullopt;
    const StoredTensors tensors = readSafetensors(MappedFile::open(path));
    TrainCheckpoint checkpoint;
    for (const auto& [name, stored] : tensors) {
        const Tensor& tensor = stored.tensor;
        if (name == kState && tensor.dtype() == DType::U8)
            checkpoint.state =
                parseJson({tensor.as<char>(), tensor.bytes()}, path.string() + " state");
        else if (tensor.dtype() == DType::F32)
            checkpoint.vectors[name] = {tensor.as<float>(), tensor.as<float>() + tensor.elements()};
        else
            throwBadInput(path.string(), "is no training checkpoint: tensor " + name);
    }
    if (!checkpoint.state.is_object())
        throwBadInput(path.string(), "is no training checkpoint: it has no state");
    return checkpoint;
}

}  // namespace fettle
