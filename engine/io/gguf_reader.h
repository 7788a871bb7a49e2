// Reads GGUF files, versions 2 and 3, little endian:
//
//   u32 magic "GGUF", u32 version, u64 tensor count, u64 key count
//   per key:    string key, u32 type, value              string = u64 length + bytes
//                                                        array  = u32 element type, u64 count,
//                                                        elements
//   per tensor: string name, u32 n_dims, u64 dims[n_dims] (fastest first), u32 ggml type, u64
//   offset zeros up to the alignment (general.alignment, 32 unless told), then the data; offsets
//   count from there. The tensors follow one another in order, each padded to the alignment.
//
// Nothing is allocated by a count that the file does not back with bytes.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/io/gguf_types.h"
#include "engine/io/mapped_file.h"
#include "engine/io/stored_tensor.h"

namespace fettle {

/// An array as it lies in the file; its bounds were checked on reading.
struct GgufArray {
    GgufType element = GgufType::U8;
    std::uint64_t count = 0;
    const std::byte* data = nullptr;
};

struct GgufValue {
    GgufType type = GgufType::U8;
    std::variant<std::uint64_t, std::int64_t, double, bool, std::string_view, GgufArray> value;
};

class GgufFile {
public:
    /// Throws EngineError(BadInput) naming the file, the key or tensor, and the cause.
    static GgufFile read(const std::shared_ptr<const MappedFile>& file);

    const std::map<std::string, GgufValue>& metadata() const { return m_metadata; }
    const StoredTensors& tensors() const { return m_tensors; }
    const std::shared_ptr<const MappedFile>& file() const { return m_file; }
    const std::string& origin() const { return m_origin; }

    bool has(const std::string& key) const { return m_metadata.count(key) != 0; }
    // Each gives nothing for an absent key and throws BadInput for a value of another kind.
    std::optional<std::string> findString(const std::string& key) const;
    std::optional<std::int64_t> findInteger(const std::string& key) const;
    std::optional<double> findNumber(const std::string& key) const;
    std::optional<bool> findBool(const std::string& key) const;
    std::vector<std::string> strings(const std::string& key) const;
    std::vector<float> floats(const std::string& key) const;
    std::vector<std::int32_t> integers(const std::string& key) const;

private:
    const GgufArray* findArray(const std::string& key) const;
    [[noreturn]] void wrongType(const std::string& key, const char* wanted) const;

    std::shared_ptr<const MappedFile> m_file;
    std::string m_origin;
    std::map<std::string, GgufValue> m_metadata;
    StoredTensors m_tensors;

    friend class GgufParser;
};

}  // namespace fettle
