#include "engine/io/gguf_writer.h"

#include "engine/core/error.h"

namespace fettle {
namespace {

constexpr std::uint64_t kAlignment = 32;
constexpr std::uint32_t kVersion = 3;

std::uint64_t padded(std::uint64_t bytes) {
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

std::uint64_t GgufTensorToWrite::bytes() const {
    const std::int64_t cols = shape.back();
    return static_cast<std::uint64_t>(elementCount(shape) / cols) * kernels::rowBytes(format, cols);
}

void GgufWriter::appendString(const std::string& text) {
    append(static_cast<std::uint64_t>(text.size()));
    m_keys += text;
}

void GgufWriter::beginKey(const std::string& key, GgufType type) {
    appendString(key);
    append(static_cast<std::uint32_t>(type));
    ++m_keyCount;
}

void GgufWriter::beginArray(const std::string& key, GgufType element, std::size_t count) {
    beginKey(key, GgufType::Array);
    append(static_cast<std::uint32_t>(element));
    append(static_cast<std::uint64_t>(count));
}

void GgufWriter::addString(const std::string& key, const std::string& value) {
    beginKey(key, GgufType::String);
    appendString(value);
}

void GgufWriter::addU32(const std::string& key, std::uint64_t value) {
    if (value >> 32)
        throw EngineError(ErrorKind::BadInput,
                          "GGUF key " + key + " cannot hold " + std::to_string(value));
    beginKey(key, GgufType::U32);
    append(static_cast<std::uint32_t>(value));
}

void GgufWriter::addF32(const std::string& key, float value) {
    beginKey(key, GgufType::F32);
    append(value);
}

void GgufWriter::addBool(const std::string& key, bool value) {
    beginKey(key, GgufType::Bool);
    append(static_cast<std::uint8_t>(value));
}

void GgufWriter::addStrings(const std::string& key, const std::vector<std::string>& values) {
    beginArray(key, GgufType::String, values.size());
    for (const std::string& value : values)
        appendString(value);
}

void GgufWriter::addFloats(const std::string& key, const std::vector<float>& values) {
    beginArray(key, GgufType::F32, values.size());
    for (const float value : values)
        append(value);
}

void GgufWriter::addIntegers(const std::string& key, const std::vector<std::int32_t>& values) {
    beginArray(key, GgufType::I32, values.size());
    for (const std::int32_t value : values)
        append(value);
}

std::uint64_t GgufWriter::dataBytes() const {
    std::uint64_t total = 0;
    for (const GgufTensorToWrite& tensor : m_tensors)
        total += padded(tensor.bytes());
    return total;
}

void GgufWriter::write(
    const std::filesystem::path& path,
    const std::function<void(const std::string&, std::uint64_t)>& written) const {
    FileWriter file(path);
    const auto put = [&](auto value) { file.write(&value, sizeof value); };
    file.write("GGUF");
    put(kVersion);
    put(static_cast<std::uint64_t>(m_tensors.size()));
    put(m_keyCount);
    file.write(m_keys);
    std::uint64_t offset = 0;
    for (const GgufTensorToWrite& tensor : m_tensors) {
        put(static_cast<std::uint64_t>(tensor.name.size()));
        file.write(tensor.name);
        put(static_cast<std::uint32_t>(tensor.shape.size()));
        for (auto d = tensor.shape.rbegin(); d != tensor.shape.rend(); ++d)
            put(static_cast<std::uint64_t>(*d));
        put(ggmlType(tensor.format).id);
        put(offset);
        offset += padded(tensor.bytes());
    }
    file.pad(kAlignment);
    const std::uint64_t begin = file.position();
    std::uint64_t expected = 0;
    for (const GgufTensorToWrite& tensor : m_tensors) {
        tensor.write(file);
        expected += tensor.bytes();
        if (file.position() - begin != expected)
            throw EngineError(ErrorKind::Internal,
                              tensor.name + ": wrote another number of bytes than announced");
        file.pad(kAlignment);
        expected = padded(expected);
        written(tensor.name, expected);
    }
    file.finish();
}

}  // namespace fettle
