#include "engine/io/safetensors_reader.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <tuple>

#include "engine/core/error.h"
#include "engine/io/strict_json.h"

namespace fettle {
namespace {

using kernels::WeightFormat;
using nlohmann::json;

constexpr std::uint64_t kMaxHeader = 100'000'000;  // the reference implementation's limit

struct TypeEntry {
    const char* name;
    std::size_t bytes;
    std::optional<DType> dtype;
    std::optional<WeightFormat> format;
};
const TypeEntry kTypes[] = {
    {"F32", 4, DType::F32, WeightFormat::F32},
    {"F16", 2, DType::F16, WeightFormat::F16},
    {"BF16", 2, DType::BF16, WeightFormat::BF16},
    {"I8", 1, DType::I8, {}},
    {"U8", 1, DType::U8, {}},
    {"I32", 4, DType::I32, {}},
    {"I64", 8, DType::I64, {}},
    {"F8_E4M3", 1, DType::F8E4M3, {}},
    {"BOOL", 1, {}, {}},
    {"F8_E5M2", 1, {}, {}},
    {"I16", 2, {}, {}},
    {"U16", 2, {}, {}},
    {"U32", 4, {}, {}},
    {"U64", 8, {}, {}},
    {"F64", 8, {}, {}},
};

struct Extent {
    std::uint64_t begin;
    std::uint64_t end;
    std::string name;
};

/// Reads one file's header; knows its name for messages.
class HeaderReader {
public:
    explicit HeaderReader(const std::shared_ptr<const MappedFile>& file)
        : m_file(file), m_origin(file->path().string()) {}

    StoredTensors read() {
        const json header = readHeader();
        if (!header.is_object())
            throwBadInput(m_origin, "the header is not a JSON object");
        StoredTensors tensors;
        std::vector<Extent> extents;
        for (const auto& [name, entry] : header.items()) {
            if (name == "__metadata__")
                continue;
            if (name.empty() || !isPlainText(name))
                fail(name, "has a name that is empty or does not print");
            Extent extent = readEntry(name, entry, tensors[name]);
            extents.push_back(std::move(extent));
        }
        checkExtents(extents);
        return tensors;
    }

private:
    [[noreturn]] void fail(const std::string& tensor, const std::string& cause) const {
        throwBadInput(m_origin, "tensor " + inQuotes(tensor) + " " + cause);
    }

    json readHeader() {
        const auto bytes = m_file->bytes();
        std::uint64_t length = 0;
        if (bytes.size() < sizeof length)
            throwBadInput(m_origin, "truncated: " + std::to_string(bytes.size()) +
                                        " bytes are too few for a header");
        std::memcpy(&length, bytes.data(), sizeof length);
        if (length > bytes.size() - sizeof length)
            throwBadInput(m_origin, "header length " + std::to_string(length) +
                                        " goes past the end of the file (" +
                                        std::to_string(bytes.size()) +
                                        " bytes): truncated, or not a safetensors file");
        if (length > kMaxHeader)
            throwBadInput(m_origin, "header length " + std::to_string(length) +
                                        " is over the limit of 100 MB");
        m_data = bytes.subspan(sizeof length + length);
        const char* text = reinterpret_cast<const char*>(bytes.data()) + sizeof length;
        return parseJson({text, length}, m_origin + " (header)", 8);
    }

    /// A whole number that is not negative and fits 62 bits.
    std::uint64_t count(const std::string& name, const json& value, const char* what) const {
        if (!value.is_number_integer() ||
            (!value.is_number_unsigned() && value.get<std::int64_t>() < 0))
            fail(name,
                 std::string("has a ") + what +
                     " that is not a whole number of at least 0: " + value.dump().substr(0, 40));
        const auto number = value.get<std::uint64_t>();
        if (number >> 62)
            fail(name, std::string("has an impossible ") + what + ": " + std::to_string(number));
        return number;
    }

    Extent readEntry(const std::string& name, const json& entry, StoredTensor& stored) {
        if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") ||
            !entry.contains("data_offsets"))
            fail(name, "lacks dtype, shape or data_offsets");
        const json &dtype = entry["dtype"], &dims = entry["shape"],
                   &offsets = entry["data_offsets"];
        if (!dtype.is_string())
            fail(name, "has a dtype that is not a string");
        const auto typeName = dtype.get<std::string>();
        const auto* type = std::find_if(std::begin(kTypes), std::end(kTypes),
                                        [&](const TypeEntry& t) { return typeName == t.name; });
        if (type == std::end(kTypes))
            fail(name, "has the unknown dtype " + inQuotes(typeName));
        if (!dims.is_array() || dims.size() > 8)
            fail(name, "has a shape that is not a list of at most 8 dimensions");
        Shape shape;
        for (const json& d : dims)
            shape.push_back(static_cast<std::int64_t>(count(name, d, "dimension")));
        if (!offsets.is_array() || offsets.size() != 2)
            fail(name, "has data_offsets that are not [begin, end]");
        const std::uint64_t begin = count(name, offsets[0], "data offset"),
                            end = count(name, offsets[1], "data offset");
        if (begin > end || end > m_data.size())
            fail(name, "has data offsets [" + std::to_string(begin) + ", " + std::to_string(end) +
                           "] outside the file's " + std::to_string(m_data.size()) +
                           " bytes of data: truncated, or a wrong header");
        const std::int64_t elements = elementCount(shape);
        std::uint64_t want = 0;
        if (elements < 0 ||
            __builtin_mul_overflow(static_cast<std::uint64_t>(elements), type->bytes, &want))
            fail(name, "has a shape whose size overflows: " + toString(shape));
        if (want != end - begin)
            fail(name, "of shape " + toString(shape) + " and dtype " + typeName + " wants " +
                           std::to_string(want) + " bytes, its offsets give " +
                           std::to_string(end - begin));
        fill(stored, *type, std::move(shape), begin, static_cast<std::size_t>(want));
        return {begin, end, name};
    }

    void fill(StoredTensor& stored, const TypeEntry& type, Shape shape, std::uint64_t begin,
              std::size_t bytes) {
        const std::byte* data = m_data.data() + begin;
        const DType dtype = type.dtype.value_or(DType::Block);
        if (reinterpret_cast<std::uintptr_t>(data) % type.bytes == 0) {
            stored.tensor = Tensor(dtype, std::move(shape), data, bytes, m_file).markMapped();
        } else {
            // A header that was not padded: reading through a misaligned pointer is undefined, so
            // this one is copied.
            stored.tensor = Tensor::allocateBytes(dtype, std::move(shape), bytes);
            std::memcpy(stored.tensor.mutableAs<std::byte>(), data, bytes);
        }
        stored.file = m_origin;
        stored.type = type.name;
        stored.format = type.format;
    }

    void checkExtents(std::vector<Extent>& extents) const {
        std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) {
            return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
        });
        std::uint64_t at = 0;
        for (const Extent& extent : extents) {
            if (extent.begin < at)
                fail(extent.name, "overlaps the tensor before it");
            if (extent.begin > at)
                fail(extent.name,
                     "leaves a hole of " + std::to_string(extent.begin - at) + " bytes before it");
            at = extent.end;
        }
        if (at != m_data.size())
            throwBadInput(m_origin, std::to_string(m_data.size() - at) +
                                        " bytes after the last tensor belong to none (hole)");
    }

    std::shared_ptr<const MappedFile> m_file;
    std::string m_origin;
    std::span<const std::byte> m_data;
};

/// The name of a shard inside the folder; anything that leads elsewhere is refused.
std::string shardName(const std::string& index, const std::string& tensor, const json& value) {
    if (!value.is_string())
        throwBadInput(index, "weight_map of " + inQuotes(tensor) + " is not a file name");
    auto name = value.get<std::string>();
    if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos ||
        !isPlainText(name))
        throwBadInput(index, "weight_map names the file " + inQuotes(name) +
                                 ", which is not a plain file name");
    return name;
}

}  // namespace

StoredTensors readSafetensors(const std::shared_ptr<const MappedFile>& file) {
    return HeaderReader(file).read();
}

Checkpoint readCheckpoint(const std::filesystem::path& folder) {
    Checkpoint checkpoint;
    const auto single = folder / "model.safetensors";
    if (std::filesystem::exists(std::filesystem::symlink_status(single))) {
        checkpoint.files.push_back(MappedFile::open(single));
        checkpoint.tensors = readSafetensors(checkpoint.files.back());
        return checkpoint;
    }
    const auto indexPath = folder / "model.safetensors.index.json";
    const json index = readJsonObject(indexPath);
    const std::string origin = indexPath.string();
    if (!index.contains("weight_map") || !index["weight_map"].is_object() ||
        index["weight_map"].empty())
        throwBadInput(origin, "has no weight_map");
    std::map<std::string, StoredTensors> shards;
    for (const auto& [tensor, value] : index["weight_map"].items()) {
        const std::string name = shardName(origin, tensor, value);
        auto shard = shards.find(name);
        if (shard == shards.end()) {
            if (!std::filesystem::exists(folder / name))
                throwBadInput((folder / name).string(),
                              "missing shard: the index says that it holds " + inQuotes(tensor));
            checkpoint.files.push_back(MappedFile::open(folder / name));
            shard = shards.emplace(name, readSafetensors(checkpoint.files.back())).first;
        }
        const auto found = shard->second.find(tensor);
        if (found == shard->second.end())
            throwBadInput((folder / name).string(),
                          "missing tensor " + inQuotes(tensor) + ", which the index says it holds");
        checkpoint.tensors.emplace(tensor, found->second);
    }
    return checkpoint;
}

}  // namespace fettle
