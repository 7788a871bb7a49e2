#include "engine/io/gguf_reader.h"

#include <bit>
#include <cstring>

#include "engine/core/error.h"
#include "engine/io/strict_json.h"

namespace fettle {

static_assert(std::endian::native == std::endian::little,
              "files are little endian and are read in place");

namespace {

constexpr std::uint32_t kMagic = 0x46554747;        // "GGUF"
constexpr std::uint32_t kMagicTurned = 0x47475546;  // as a big-endian writer would store the number
constexpr std::uint64_t kMaxAlignment = 1 << 20;
constexpr std::uint64_t kMaxKeyBytes = 65535;  // GGUF's own limit
constexpr std::uint64_t kMaxNameBytes = 1024;
constexpr std::uint32_t kMaxDims = 4;

template <typename T>
T loadAs(const std::byte* p) {
    T value;
    std::memcpy(&value, p, sizeof value);
    return value;
}

double numberAt(GgufType type, const std::byte* p) {
    switch (type) {
        case GgufType::U8:
            return loadAs<std::uint8_t>(p);
        case GgufType::I8:
            return loadAs<std::int8_t>(p);
        case GgufType::U16:
            return loadAs<std::uint16_t>(p);
        case GgufType::I16:
            return loadAs<std::int16_t>(p);
        case GgufType::U32:
            return loadAs<std::uint32_t>(p);
        case GgufType::I32:
            return loadAs<std::int32_t>(p);
        case GgufType::F32:
            return loadAs<float>(p);
        case GgufType::U64:
            return static_cast<double>(loadAs<std::uint64_t>(p));
        case GgufType::I64:
            return static_cast<double>(loadAs<std::int64_t>(p));
        case GgufType::F64:
            return loadAs<double>(p);
        default:
            return 0;
    }
}

}  // namespace

/// Walks the file once with a bounds-checked cursor.
class GgufParser {
public:
    explicit GgufParser(GgufFile& out) : m_out(out), m_bytes(out.m_file->bytes()) {}

    void parse() {
        const auto [tensors, keys] = readCounts();
        for (std::uint64_t i = 0; i < keys; ++i)
            readKey(i);
        const std::uint64_t alignment = readAlignment();
        refuseSplit();
        for (std::uint64_t i = 0; i < tensors; ++i)
            readTensor(i);
        placeTensors(alignment);
    }

private:
    struct Pending {
        std::string name;
        const GgmlType* type;
        Shape shape;
        std::uint64_t bytes;
        std::uint64_t offset;
    };

    [[noreturn]] void fail(const std::string& cause) const { throwBadInput(m_out.m_origin, cause); }

    std::uint64_t left() const { return m_bytes.size() - m_at; }

    const std::byte* take(std::uint64_t bytes, const std::string& what) {
        if (bytes > left())
            fail("truncated: " + what + " at offset " + std::to_string(m_at) + " wants " +
                 std::to_string(bytes) + " bytes, " + std::to_string(left()) + " are left");
        const std::byte* p = m_bytes.data() + m_at;
        m_at += bytes;
        return p;
    }

    template <typename T>
    T number(const std::string& what) {
        return loadAs<T>(take(sizeof(T), what));
    }

    std::string_view string(const std::string& what) {
        const auto length = number<std::uint64_t>(what + " (length)");
        return {reinterpret_cast<const char*>(take(length, what)), length};
    }

    std::pair<std::uint64_t, std::uint64_t> readCounts() {
        const auto magic = number<std::uint32_t>("the magic number");
        if (magic == kMagicTurned)
            fail("is a big-endian GGUF file; only little-endian ones are supported");
        if (magic != kMagic)
            fail("is not a GGUF file (wrong magic number)");
        const auto version = number<std::uint32_t>("the version");
        if (version == 0x02000000 || version == 0x03000000)
            fail("is a big-endian GGUF file; only little-endian ones are supported");
        if (version != 2 && version != 3)
            fail("GGUF version " + std::to_string(version) + " is not supported; 2 and 3 are");
        const auto tensors = number<std::uint64_t>("the tensor count");
        const auto keys = number<std::uint64_t>("the key count");
        // The smallest key (length, one letter, type, one byte) and tensor (length, letter, n_dims,
        // type, offset).
        if (keys > left() / 14)
            fail("key count " + std::to_string(keys) + " is more than the file can hold");
        if (tensors > left() / 25)
            fail("tensor count " + std::to_string(tensors) + " is more than the file can hold");
        return {tensors, keys};
    }

    void readKey(std::uint64_t index) {
        const std::string_view key = string("key " + std::to_string(index));
        if (key.empty() || key.size() > kMaxKeyBytes || !isPlainText(key))
            fail("key " + std::to_string(index) +
                 " has a name that is empty, too long or does not print");
        std::string name(key);
        const auto type = number<std::uint32_t>("the type of key " + inQuotes(name));
        if (type > static_cast<std::uint32_t>(GgufType::F64))
            fail("key " + inQuotes(name) + " has the unknown value type " + std::to_string(type));
        GgufValue value = readValue(static_cast<GgufType>(type), name);
        if (!m_out.m_metadata.emplace(name, value).second)
            fail("key " + inQuotes(name) + " stands twice (duplicate)");
    }

    GgufValue readValue(GgufType type, const std::string& key) {
        const std::string what = "the value of key " + inQuotes(key);
        GgufValue value;
        value.type = type;
        switch (type) {
            case GgufType::U8:
                value.value = std::uint64_t{number<std::uint8_t>(what)};
                break;
            case GgufType::U16:
                value.value = std::uint64_t{number<std::uint16_t>(what)};
                break;
            case GgufType::U32:
                value.value = std::uint64_t{number<std::uint32_t>(what)};
                break;
            case GgufType::U64:
                value.value = number<std::uint64_t>(what);
                break;
            case GgufType::I8:
                value.value = std::int64_t{number<std::int8_t>(what)};
                break;
            case GgufType::I16:
                value.value = std::int64_t{number<std::int16_t>(what)};
                break;
            case GgufType::I32:
                value.value = std::int64_t{number<std::int32_t>(what)};
                break;
            case GgufType::I64:
                value.value = number<std::int64_t>(what);
                break;
            case GgufType::F32:
                value.value = double{number<float>(what)};
                break;
            case GgufType::F64:
                value.value = number<double>(what);
                break;
            case GgufType::Bool: {
                const auto byte = number<std::uint8_t>(what);
                if (byte > 1)
                    fail(what + " is neither true nor false but " + std::to_string(byte));
                value.value = byte == 1;
                break;
            }
            case GgufType::String:
                value.value = string(what);
                break;
            case GgufType::Array:
                value.value = readArray(what);
                break;
        }
        return value;
    }

    GgufArray readArray(const std::string& what) {
        GgufArray array;
        const auto element = number<std::uint32_t>(what + " (element type)");
        if (element > static_cast<std::uint32_t>(GgufType::F64))
            fail(what + " is an array of the unknown type " + std::to_string(element));
        array.element = static_cast<GgufType>(element);
        if (array.element == GgufType::Array)
            fail(what + " is an array of arrays, which is not supported");
        array.count = number<std::uint64_t>(what + " (count)");
        const std::uint64_t smallest =
            array.element == GgufType::String ? 8 : ggufTypeBytes(array.element);
        if (array.count > left() / smallest)
            fail("truncated: " + what + " has an array count of " + std::to_string(array.count) +
                 ", more than the file can hold");
        array.data = m_bytes.data() + m_at;
        if (array.element == GgufType::String)
            skipStrings(array.count, what);
        else
            m_at += array.count * smallest;
        return array;
    }

    /// Like string() for each, without making its message a hundred thousand times.
    void skipStrings(std::uint64_t count, const std::string& what) {
        for (std::uint64_t i = 0; i < count; ++i) {
            if (left() < 8 || loadAs<std::uint64_t>(m_bytes.data() + m_at) > left() - 8)
                fail("truncated: element " + std::to_string(i) + " of " + what +
                     " goes past the end of the file");
            m_at += 8 + loadAs<std::uint64_t>(m_bytes.data() + m_at);
        }
    }

    std::uint64_t readAlignment() const {
        const std::int64_t alignment = m_out.findInteger("general.alignment").value_or(32);
        if (alignment < 8 || alignment > static_cast<std::int64_t>(kMaxAlignment) ||
            (alignment & (alignment - 1)) != 0)
            fail("general.alignment is " + std::to_string(alignment) +
                 "; it must be a power of two from 8 to 1048576");
        return static_cast<std::uint64_t>(alignment);
    }

    void refuseSplit() const {
        const std::int64_t parts = m_out.findInteger("split.count").value_or(1);
        if (parts > 1)
            fail("is one part of a split GGUF file (" + std::to_string(parts) +
                 " parts); join them first with llama-gguf-split --merge");
    }

    void readTensor(std::uint64_t index) {
        Pending tensor;
        const std::string_view name = string("the name of tensor " + std::to_string(index));
        if (name.empty() || name.size() > kMaxNameBytes || !isPlainText(name))
            fail("tensor " + std::to_string(index) +
                 " has a name that is empty, too long or does not print");
        tensor.name = name;
        const std::string what = "tensor " + inQuotes(name);
        const auto dims = number<std::uint32_t>(what);
        if (dims == 0 || dims > kMaxDims)
            fail(what + " has " + std::to_string(dims) + " dimensions; 1 to 4 are allowed");
        for (std::uint32_t d = 0; d < dims; ++d) {
            const auto size = number<std::uint64_t>(what);
            if (size == 0 || size >> 62)
                fail(what + " has an impossible dimension: " + std::to_string(size));
            tensor.shape.insert(tensor.shape.begin(), static_cast<std::int64_t>(size));
        }
        const auto type = number<std::uint32_t>(what);
        tensor.type = findGgmlType(type);
        if (!tensor.type)
            fail(what + " has the unknown ggml type " + std::to_string(type));
        tensor.offset = number<std::uint64_t>(what);
        tensor.bytes = sizeOf(tensor, what);
        m_pending.push_back(std::move(tensor));
    }

    std::uint64_t sizeOf(const Pending& tensor, const std::string& what) const {
        const std::int64_t count = elementCount(tensor.shape);
        if (count < 0)
            fail(what + " has a shape whose size overflows: " + toString(tensor.shape));
        if (tensor.shape.back() % tensor.type->blockValues != 0)
            fail(what + " has rows of " + std::to_string(tensor.shape.back()) +
                 " values, which is no multiple of " + tensor.type->name + "'s block of " +
                 std::to_string(tensor.type->blockValues));
        std::uint64_t bytes = 0;
        if (__builtin_mul_overflow(static_cast<std::uint64_t>(count / tensor.type->blockValues),
                                   tensor.type->blockBytes, &bytes))
            fail(what + " has a shape whose size overflows: " + toString(tensor.shape));
        return bytes;
    }

    void placeTensors(std::uint64_t alignment) {
        const std::uint64_t start = (m_at + alignment - 1) / alignment * alignment;
        std::uint64_t expected = 0;
        for (Pending& tensor : m_pending) {
            const std::string what = "tensor " + inQuotes(tensor.name);
            if (tensor.offset % alignment != 0)
                fail(what + " is misaligned: offset " + std::to_string(tensor.offset) +
                     " is no multiple of " + std::to_string(alignment));
            if (tensor.offset < expected)
                fail(what + " overlaps the tensor before it: offset " +
                     std::to_string(tensor.offset) + ", expected " + std::to_string(expected));
            if (tensor.offset > expected)
                fail(what + " leaves a hole before it: offset " + std::to_string(tensor.offset) +
                     ", expected " + std::to_string(expected));
            const std::uint64_t size = m_bytes.size();
            if (start > size || tensor.offset > size - start ||
                tensor.bytes > size - start - tensor.offset)
                fail("truncated: " + what + " wants " + std::to_string(tensor.bytes) +
                     " bytes at offset " + std::to_string(tensor.offset) +
                     " of the data and goes past the end of the file");
            expected = (tensor.offset + tensor.bytes + alignment - 1) / alignment * alignment;
            add(tensor, m_bytes.data() + start + tensor.offset);
        }
    }

    void add(Pending& tensor, const std::byte* data) {
        StoredTensor stored;
        stored.file = m_out.m_origin;
        stored.type = tensor.type->name;
        stored.format = tensor.type->format;
        DType dtype = DType::Block;
        if (stored.type == "F32")
            dtype = DType::F32;
        else if (stored.type == "F16")
            dtype = DType::F16;
        else if (stored.type == "BF16")
            dtype = DType::BF16;
        stored.tensor =
            Tensor(dtype, std::move(tensor.shape), data, tensor.bytes, m_out.m_file).markMapped();
        if (!m_out.m_tensors.emplace(tensor.name, std::move(stored)).second)
            fail("tensor " + inQuotes(tensor.name) + " stands twice (duplicate)");
    }

    GgufFile& m_out;
    std::span<const std::byte> m_bytes;
    std::uint64_t m_at = 0;
    std::vector<Pending> m_pending;
};

GgufFile GgufFile::read(const std::shared_ptr<const MappedFile>& file) {
    GgufFile out;
    out.m_file = file;
    out.m_origin = file->path().string();
    GgufParser(out).parse();
    return out;
}

void GgufFile::wrongType(const std::string& key, const char* wanted) const {
    throwBadInput(m_origin, "key " + inQuotes(key) + " is of type " +
                                toString(m_metadata.at(key).type) + ", wanted " + wanted);
}

std::optional<std::string> GgufFile::findString(const std::string& key) const {
    const auto found = m_metadata.find(key);
    if (found == m_metadata.end())
        return std::nullopt;
    if (const auto* text = std::get_if<std::string_view>(&found->second.value))
        return std::string(*text);
    wrongType(key, "string");
}

std::optional<std::int64_t> GgufFile::findInteger(const std::string& key) const {
    const auto found = m_metadata.find(key);
    if (found == m_metadata.end())
        return std::nullopt;
    if (const auto* number = std::get_if<std::int64_t>(&found->second.value))
        return *number;
    const auto* number = std::get_if<std::uint64_t>(&found->second.value);
    if (!number)
        wrongType(key, "a whole number");
    if (*number >> 63)
        throwBadInput(m_origin, "key " + inQuotes(key) +
                                    " holds an impossible number: " + std::to_string(*number));
    return static_cast<std::int64_t>(*number);
}

std::optional<double> GgufFile::findNumber(const std::string& key) const {
    const auto found = m_metadata.find(key);
    if (found == m_metadata.end())
        return std::nullopt;
    if (const auto* number = std::get_if<double>(&found->second.value))
        return *number;
    return static_cast<double>(*findInteger(key));
}

std::optional<bool> GgufFile::findBool(const std::string& key) const {
    const auto found = m_metadata.find(key);
    if (found == m_metadata.end())
        return std::nullopt;
    if (const auto* flag = std::get_if<bool>(&found->second.value))
        return *flag;
    wrongType(key, "bool");
}

const GgufArray* GgufFile::findArray(const std::string& key) const {
    const auto found = m_metadata.find(key);
    if (found == m_metadata.end())
        return nullptr;
    const auto* array = std::get_if<GgufArray>(&found->second.value);
    if (!array)
        wrongType(key, "array");
    return array;
}

std::vector<std::string> GgufFile::strings(const std::string& key) const {
    std::vector<std::string> values;
    const GgufArray* array = findArray(key);
    if (!array)
        return values;
    if (array->element != GgufType::String)
        wrongType(key, "an array of strings");
    values.reserve(array->count);
    const std::byte* p = array->data;
    for (std::uint64_t i = 0; i < array->count; ++i) {
        const auto length = loadAs<std::uint64_t>(p);
        values.emplace_back(reinterpret_cast<const char*>(p + 8), length);
        p += 8 + length;
    }
    return values;
}

std::vector<float> GgufFile::floats(const std::string& key) const {
    std::vector<float> values;
    const GgufArray* array = findArray(key);
    if (!array)
        return values;
    if (array->element != GgufType::F32 && array->element != GgufType::F64)
        wrongType(key, "an array of floating-point numbers");
    values.reserve(array->count);
    const std::size_t step = ggufTypeBytes(array->element);
    for (std::uint64_t i = 0; i < array->count; ++i)
        values.push_back(static_cast<float>(numberAt(array->element, array->data + i * step)));
    return values;
}

std::vector<std::int32_t> GgufFile::integers(const std::string& key) const {
    std::vector<std::int32_t> values;
    const GgufArray* array = findArray(key);
    if (!array)
        return values;
    const GgufType type = array->element;
    if (type == GgufType::String || type == GgufType::Bool || type == GgufType::F32 ||
        type == GgufType::F64)
        wrongType(key, "an array of whole numbers");
    values.reserve(array->count);
    const std::size_t step = ggufTypeBytes(type);
    for (std::uint64_t i = 0; i < array->count; ++i) {
        const double value = numberAt(type, array->data + i * step);
        if (value < -2147483648.0 || value > 2147483647.0)
            throwBadInput(m_origin, "key " + inQuotes(key) + " holds a number outside 32 bits");
        values.push_back(static_cast<std::int32_t>(value));
    }
    return values;
}

}  // namespace fettle
