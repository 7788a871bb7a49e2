#include "engine/io/compressed_tensors.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "engine/core/error.h"
#include "engine/io/compressed_json.h"
#include "engine/io/compressed_scheme.h"
#include "engine/io/strict_json.h"

namespace fettle {
namespace {

using nlohmann::json;

// A pattern from a file may be built to run for ever; module names need a few hundred steps.
constexpr std::uint32_t kMatchLimit = 100'000;

bool matchesPattern(const std::string& pattern, const std::string& text) {
    int error = 0;
    PCRE2_SIZE at = 0;
    const std::unique_ptr<pcre2_code, decltype(&pcre2_code_free)> code(
        pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                      PCRE2_ANCHORED | PCRE2_NEVER_BACKSLASH_C, &error, &at, nullptr),
        pcre2_code_free);
    if (!code)
        return false;
    const std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> context(
        pcre2_match_context_create(nullptr), pcre2_match_context_free);
    pcre2_set_match_limit(context.get(), kMatchLimit);
    const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data(
        pcre2_match_data_create_from_pattern(code.get(), nullptr), pcre2_match_data_free);
    return pcre2_match(code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0, 0,
                       data.get(), context.get()) >= 0;
}

std::vector<std::string> names(const json& value, const std::string& origin, const char* what) {
    std::vector<std::string> out;
    if (value.is_null())
        return out;
    if (!value.is_array())
        throwBadInput(origin, std::string(what) + " is not a list of names");
    for (const json& name : value) {
        if (!name.is_string())
            throwBadInput(origin, std::string(what) + " is not a list of names");
        out.push_back(name.get<std::string>());
    }
    return out;
}

const StoredTensor& need(const StoredTensors& tensors, const std::string& name,
                         const std::string& origin) {
    const auto found = tensors.find(name);
    if (found == tensors.end())
        throwBadInput(origin, "missing tensor " + inQuotes(name));
    return found->second;
}

void expect(const StoredTensor& tensor, const std::string& name, DType dtype, const Shape& shape) {
    if (tensor.tensor.dtype() != dtype)
        throwBadInput(tensor.file, "tensor " + inQuotes(name) + " has dtype " + tensor.type +
                                       ", wanted " + toString(dtype));
    if (tensor.tensor.shape() != shape)
        throwBadInput(tensor.file, "tensor " + inQuotes(name) + " has shape " +
                                       toString(tensor.tensor.shape()) + ", wanted " +
                                       toString(shape));
}

/// One scale for `together` rows each, or for the whole tensor, to one for each row.
Tensor repeatedScales(const StoredTensor& scale, const std::string& name, std::int64_t rows,
                      std::int64_t groups, std::int64_t together) {
    const std::int64_t blocks = (rows - 1) / together + 1;
    const Shape wanted{blocks, groups};
    if (scale.tensor.shape() != wanted &&
        !(blocks == 1 && groups == 1 && scale.tensor.elements() == 1))
        throwBadInput(scale.file, "tensor " + inQuotes(name) + " has shape " +
                                      toString(scale.tensor.shape()) + ", wanted " +
                                      toString(wanted));
    Tensor out = Tensor::allocate(scale.tensor.dtype(), {rows, groups});
    const std::size_t line = static_cast<std::size_t>(groups) * dtypeBytes(scale.tensor.dtype());
    for (std::int64_t r = 0; r < rows; ++r)
        std::memcpy(out.mutableAs<std::byte>() + static_cast<std::size_t>(r) * line,
                    scale.tensor.data() + static_cast<std::size_t>(r / together) * line, line);
    return out;
}

Tensor readScales(const StoredTensors& tensors, const std::string& module, std::int64_t rows,
                  std::int64_t groups, const std::string& origin, std::int64_t together = 1) {
    const std::string name = module + ".weight_scale";
    const StoredTensor& scale = need(tensors, name, origin);
    if (!scale.format)
        throwBadInput(scale.file, "tensor " + inQuotes(name) + " has dtype " + scale.type +
                                      ", wanted F32, F16 or BF16");
    const Shape wanted{rows, groups};
    if (together > 1)
        return repeatedScales(scale, name, rows, groups, together);
    if (scale.tensor.shape() != wanted && !(groups == 1 && scale.tensor.shape() == Shape{rows}))
        throwBadInput(scale.file, "tensor " + inQuotes(name) + " has shape " +
                                      toString(scale.tensor.shape()) + ", wanted " +
                                      toString(wanted));
    return scale.tensor.reshaped(wanted);
}

void checkPackedShape(const StoredTensors& tensors, const std::string& module, std::int64_t rows,
                      std::int64_t cols, const std::string& origin) {
    const std::string name = module + ".weight_shape";
    const StoredTensor& shape = need(tensors, name, origin);
    std::int64_t stored[2] = {0, 0};
    if (shape.tensor.elements() == 2 && shape.tensor.dtype() == DType::I64) {
        std::memcpy(stored, shape.tensor.data(), sizeof stored);
    } else if (shape.tensor.elements() == 2 && shape.tensor.dtype() == DType::I32) {
        std::int32_t narrow[2];
        std::memcpy(narrow, shape.tensor.data(), sizeof narrow);
        stored[0] = narrow[0];
        stored[1] = narrow[1];
    }
    if (stored[0] != rows || stored[1] != cols)
        throwBadInput(shape.file, "tensor " + inQuotes(name) + " is not the shape " +
                                      toString({rows, cols}) + " that the configuration gives");
}

/// int8 that lies in words: byte k of a row is q + 128.
Tensor unpackBytes(const StoredTensor& packed, const std::string& name, std::int64_t rows,
                   std::int64_t cols) {
    const std::int64_t words = (cols + 3) / 4;
    expect(packed, name, DType::I32, {rows, words});
    Tensor codes = Tensor::allocate(DType::I8, {rows, cols});
    for (std::int64_t r = 0; r < rows; ++r) {
        const auto* from = packed.tensor.as<std::uint8_t>() + r * words * 4;
        auto* to = codes.mutableAs<std::uint8_t>() + r * cols;
        for (std::int64_t c = 0; c < cols; ++c)
            to[c] = from[c] ^ 0x80;
    }
    packed.tensor.dropPages();
    return codes;
}

/// Activation order is fine where it changes nothing.
void checkOrder(const StoredTensors& tensors, const std::string& module, std::int64_t cols,
                std::int64_t group) {
    const auto found = tensors.find(module + ".weight_g_idx");
    if (found == tensors.end())
        return;
    const Tensor& index = found->second.tensor;
    bool plain = index.dtype() == DType::I32 && index.elements() == cols;
    for (std::int64_t k = 0; plain && k < cols; ++k)
        plain = index.as<std::int32_t>()[k] == k / group;
    if (!plain)
        throwBadInput(found->second.file,
                      "tensor " + inQuotes(found->first) +
                          " reorders the inputs (activation order), which is not supported");
}

}  // namespace

bool matchesTarget(const std::string& target, const std::string& module) {
    if (target.starts_with("re:"))
        return matchesPattern(target.substr(3), module);
    return target == module || target == "Linear";
}

std::optional<CompressedTensorsConfig> CompressedTensorsConfig::fromConfig(
    const json& config, const std::string& origin) {
    const char* key =
        config.contains("quantization_config") ? "quantization_config" : "compression_config";
    if (!isPresent(config, key))
        return std::nullopt;
    const json& part = config[key];
    if (!part.is_object())
        throwBadInput(origin, std::string(key) + " is not an object");
    const auto method = valueOr<std::string>(part, "quant_method", "", origin);
    if (method != "compressed-tensors")
        throwBadInput(origin, "quantization method " + inQuotes(method) +
                                  " is not supported; compressed-tensors is");
    for (const char* unsupported : {"sparsity_config", "transform_config"})
        if (isPresent(part, unsupported) && !(part[unsupported].is_object() &&
                                              part[unsupported].value("format", json()) == "dense"))
            throwBadInput(origin,
                          std::string("quantization_config: ") + unsupported + " is not supported");
    CompressedTensorsConfig out;
    out.m_origin = origin;
    out.m_ignore = names(part.value("ignore", json()), origin, "quantization_config: ignore");
    if (isPresent(part, "kv_cache_scheme"))
        out.m_warnings.push_back(
            "the file's kv_cache_scheme is not applied: keys and values keep full precision");
    if (!isPresent(part, "config_groups") || !part["config_groups"].is_object())
        throwBadInput(origin, "quantization_config: config_groups is missing");
    const auto format = valueOr<std::string>(part, "format", "", origin);
    for (const auto& [name, group] : part["config_groups"].items())
        out.readGroup(name, group, format);
    return out;
}

void CompressedTensorsConfig::readGroup(const std::string& name, const json& group,
                                        const std::string& outerFormat) {
    const auto fail = [&](const std::string& cause) {
        throwBadInput(m_origin, "quantization_config: " + inQuotes(name) + " " + cause);
    };
    if (!group.is_object() || !isPresent(group, "weights") || !group["weights"].is_object())
        fail("has no weights");
    if (isPresent(group, "output_activations"))
        fail("quantizes outputs, which is not supported");
    Group out;
    out.scheme = schemeFromGroup(group, valueOr(group, "format", outerFormat, m_origin),
                                 inQuotes(name), m_origin, m_warnings);
    out.targets = names(group.value("targets", json()), m_origin, "quantization_config: targets");
    m_groups.push_back(std::move(out));
}

std::optional<QuantScheme> CompressedTensorsConfig::schemeOf(const std::string& module) const {
    const auto names = [&](const std::string& target) { return matchesTarget(target, module); };
    if (std::any_of(m_ignore.begin(), m_ignore.end(), names))
        return std::nullopt;
    // An exact name or pattern is meant more than the class is.
    for (const bool wholeClass : {false, true})
        for (const Group& group : m_groups)
            for (const std::string& target : group.targets)
                if ((target == "Linear") == wholeClass && matchesTarget(target, module))
                    return group.scheme;
    return std::nullopt;
}

namespace {

using kernels::WeightFormat;

/// One float32, as compressed-tensors stores global scales.
float readGlobalScale(const StoredTensors& tensors, const std::string& name,
                      const std::string& origin) {
    const StoredTensor& scale = need(tensors, name, origin);
    if (scale.tensor.elements() != 1 || !plainFormat(scale.tensor.dtype()))
        throwBadInput(scale.file, "tensor " + inQuotes(name) + " is not one number");
    const float value = Weight(scale.tensor).toFloat().front();
    if (!(value > 0) || !std::isfinite(value))
        throwBadInput(scale.file, "tensor " + inQuotes(name) + " is not a positive number");
    return value;
}

/// Codes that take a byte each.
void readByteCodes(const StoredTensors& tensors, const std::string& module,
                   const std::string& origin, QuantizedTensor& out) {
    const bool floats = out.scheme.format == WeightFormat::Fp8Channel;
    const auto packed = tensors.find(module + ".weight_packed");
    if (packed != tensors.end() && !floats) {
        checkPackedShape(tensors, module, out.rows, out.cols, origin);
        checkOrder(tensors, module, out.cols, out.cols);
        out.codes = unpackBytes(packed->second, packed->first, out.rows, out.cols);
    } else {
        const StoredTensor& codes = need(tensors, module + ".weight", origin);
        expect(codes, module + ".weight", floats ? DType::F8E4M3 : DType::I8, {out.rows, out.cols});
        out.codes = codes.tensor;
    }
    out.scales = readScales(tensors, module, out.rows, 1, origin, out.scheme.rowsPerScale());
    if (out.scheme.activations == ActivationFormat::Int8Tensor)
        out.inputGlobalScale = readGlobalScale(tensors, module + ".input_scale", origin);
}

/// Float codes with block scales: E2M1, E2M3 and NF4 packed, E4M3 a byte each.
void readBlockFloats(const StoredTensors& tensors, const std::string& module,
                     const std::string& origin, QuantizedTensor& out) {
    const bool nv = out.scheme.format == WeightFormat::NvFp4;
    const bool bytes =
        out.scheme.format == WeightFormat::MxFp8 || out.scheme.format == WeightFormat::Fp8Group;
    const std::string packed = module + (bytes ? ".weight" : ".weight_packed"),
                      scale = module + ".weight_scale";
    const StoredTensor& codes = need(tensors, packed, origin);
    if (out.cols % out.scheme.groupSize != 0)
        throwBadInput(codes.file, "tensor " + inQuotes(packed) + ": rows of " +
                                      std::to_string(out.cols) +
                                      " values do not divide into blocks of " +
                                      std::to_string(out.scheme.groupSize));
    expect(codes, packed, bytes ? DType::F8E4M3 : DType::U8,
           {out.rows, out.cols * out.scheme.bits / 8});
    out.codes = codes.tensor;
    if (out.scheme.format == WeightFormat::Nf4Group ||
        out.scheme.format == WeightFormat::Fp8Group) {
        out.scales = readScales(tensors, module, out.rows, out.cols / out.scheme.groupSize, origin,
                                out.scheme.rowsPerScale());
        return;
    }
    const StoredTensor& scales = need(tensors, scale, origin);
    expect(scales, scale, nv ? DType::F8E4M3 : DType::U8,
           {out.rows, out.cols / out.scheme.groupSize});
    out.scales = scales.tensor;
    if (nv)
        out.globalScale = readGlobalScale(tensors, module + ".weight_global_scale", origin);
    if (out.scheme.activations == ActivationFormat::NvFp4)
        out.inputGlobalScale = readGlobalScale(tensors, module + ".input_global_scale", origin);
}

/// Integers narrower than a byte.
void readPackedIntegers(const StoredTensors& tensors, const std::string& module,
                        const std::string& origin, QuantizedTensor& out) {
    const std::int64_t cols = out.cols,
                       group = out.scheme.groupSize > 0 ? out.scheme.groupSize : cols;
    const std::int64_t unit = out.scheme.bits == 4 ? 8 : 32;
    const StoredTensor& codes = need(tensors, module + ".weight_packed", origin);
    if (cols % unit != 0 || cols % group != 0)
        throwBadInput(codes.file, "tensor " + inQuotes(module + ".weight_packed") + ": rows of " +
                                      std::to_string(cols) +
                                      " values do not divide into groups of " +
                                      std::to_string(group));
    expect(codes, module + ".weight_packed", DType::I32, {out.rows, cols * out.scheme.bits / 32});
    checkPackedShape(tensors, module, out.rows, cols, origin);
    checkOrder(tensors, module, cols, group);
    out.codes = codes.tensor;
    out.scales = readScales(tensors, module, out.rows, cols / group, origin);
    if (out.scheme.symmetric)
        return;
    const std::string name = module + ".weight_zero_point";
    const StoredTensor& zeros = need(tensors, name, origin);
    expect(zeros, name, DType::I32, {(out.rows + 7) / 8, cols / group});
    out.zeroPoints = zeros.tensor;
}

}  // namespace

QuantizedTensor readCompressedWeight(const StoredTensors& tensors, const std::string& module,
                                     const QuantScheme& scheme, std::int64_t rows,
                                     std::int64_t cols, const std::string& origin) {
    QuantizedTensor out;
    out.scheme = scheme;
    out.rows = rows;
    out.cols = cols;
    if (!kernels::hasGroups(scheme.format))
        readByteCodes(tensors, module, origin, out);
    else if (scheme.scaleBits() == 8 || kernels::isWidened(scheme.format))
        readBlockFloats(tensors, module, origin, out);
    else
        readPackedIntegers(tensors, module, origin, out);
    return out;
}

}  // namespace fettle
