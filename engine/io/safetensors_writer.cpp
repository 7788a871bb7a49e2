#include "engine/io/safetensors_writer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

#include "engine/core/error.h"

namespace fettle {

void writeSafetensors(const std::filesystem::path& path, std::vector<TensorToWrite> tensors,
                      const std::function<void(const std::string&, std::uint64_t)>& written) {
    std::sort(tensors.begin(), tensors.end(), [](const TensorToWrite& a, const TensorToWrite& b) {
        const auto wideA = dtypeBytes(a.dtype), wideB = dtypeBytes(b.dtype);
        return std::tie(wideB, a.name) < std::tie(wideA, b.name);
    });
    nlohmann::json header = {{"__metadata__", {{"format", "pt"}}}};
    std::uint64_t offset = 0;
    for (const TensorToWrite& tensor : tensors) {
        header[tensor.name] = {{"dtype", toString(tensor.dtype)},
                               {"shape", tensor.shape},
                               {"data_offsets", {offset, offset + tensor.bytes()}}};
        offset += tensor.bytes();
    }
    std::string text = header.dump();
    text.append((8 - text.size() % 8) % 8, ' ');
    FileWriter file(path);
    const std::uint64_t length = text.size();
    file.write(&length, sizeof length);
    file.write(text);
    const std::uint64_t begin = file.position();
    std::uint64_t expected = begin;
    for (const TensorToWrite& tensor : tensors) {
        tensor.write(file);
        expected += tensor.bytes();
        if (file.position() != expected)
            throw EngineError(ErrorKind::Internal,
                              tensor.name + ": wrote another number of bytes than announced");
        written(tensor.name, expected - begin);
    }
    file.finish();
}

}  // namespace fettle
