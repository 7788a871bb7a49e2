// Writes a GGUF v3 file (layout: gguf_reader.h): keys, tensor descriptions, then the data, tensor
// by tensor from callbacks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "engine/io/gguf_types.h"
#include "engine/io/staged_output.h"
#include "engine/tensor/tensor.h"

namespace fettle {

struct GgufTensorToWrite {
    std::string name;
    kernels::WeightFormat format = kernels::WeightFormat::F32;
    Shape shape;  ///< row-major: [rows, cols] or [n]
    std::function<void(FileWriter&)> write;

    std::uint64_t bytes() const;
};

class GgufWriter {
public:
    void addString(const std::string& key, const std::string& value);
    void addU32(const std::string& key, std::uint64_t value);
    void addF32(const std::string& key, float value);
    void addBool(const std::string& key, bool value);
    void addStrings(const std::string& key, const std::vector<std::string>& values);
    void addFloats(const std::string& key, const std::vector<float>& values);
    void addIntegers(const std::string& key, const std::vector<std::int32_t>& values);
    void addTensor(GgufTensorToWrite tensor) { m_tensors.push_back(std::move(tensor)); }

    const std::vector<GgufTensorToWrite>& tensors() const { return m_tensors; }
    std::uint64_t dataBytes() const;
    /// `written` is called after each tensor with the bytes of data so far.
    void write(
        const std::filesystem::path& path,
        const std::function<void(const std::string& name, std::uint64_t bytes)>& written) const;

private:
    void beginKey(const std::string& key, GgufType type);
    void beginArray(const std::string& key, GgufType element, std::size_t count);
    void appendString(const std::string& text);
    template <typename T>
    void append(T value) {
        m_keys.append(reinterpret_cast<const char*>(&value), sizeof value);
    }

    std::string m_keys;
    std::uint64_t m_keyCount = 0;
    std::vector<GgufTensorToWrite> m_tensors;
};

}  // namespace fettle
