#include "engine/io/compressed_tensors.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "engine/core/error.h"
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

bool present(const json& object, const char* key) {
    return object.contains(key) && !object[key].is_null() &&
           !(object[key].is_object() && object[key].empty());
}

template <typename T>
T valueOr(const json& object, const char* key, T fallback, const std::string& origin) {
    if (!present(object, key))
        return fallback;
    try {
        return object[key].get<T>();
    } catch (const json::exception&) {
        throwBadInput(
            origin, std::string("quantization_config: ") + key + " has a value of the wrong kind");
    }
}

/// W8A8's input: int8, one dynamic scale per token.
bool readActivations(const json& group, const QuantScheme& scheme, const std::string& origin,
                     std::vector<std::string>& warnings) {
    if (!present(group, "input_activations"))
        return false;
    const json& input = group["input_activations"];
    if (!input.is_object())
        throwBadInput(origin, "quantization_config: input_activations is not an object");
    const bool dynamic = input.contains("dynamic") && input["dynamic"] == true;
    const auto bits = valueOr<int>(input, "num_bits", 8, origin);
    if (!dynamic || bits != 8 || valueOr<std::string>(input, "type", "int", origin) != "int" ||
        !valueOr(input, "symmetric", true, origin))
        throwBadInput(
            origin,
            "quantization_config: activations other than dynamic symmetric int8 are not supported");
    if (scheme.format == kernels::WeightFormat::Int8Channel)
        return true;
    warnings.push_back(
        "activations stay in floating point: int8 activations are computed with int8 weights only");
    return false;
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

Tensor readScales(const StoredTensors& tensors, const std::string& module, std::int64_t rows,
                  std::int64_t groups, const std::string& origin) {
    const std::string name = module + ".weight_scale";
    const StoredTensor& scale = need(tensors, name, origin);
    if (!scale.format)
        throwBadInput(scale.file, "tensor " + inQuotes(name) + " has dtype " + scale.type +
                                      ", wanted F32, F16 or BF16");
    const Shape wanted{rows, groups};
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
    if (!present(config, key))
        return std::nullopt;
    const json& part = config[key];
    if (!part.is_object())
        throwBadInput(origin, std::string(key) + " is not an object");
    const auto method = valueOr<std::string>(part, "quant_method", "", origin);
    if (method != "compressed-tensors")
        throwBadInput(origin, "quantization method " + inQuotes(method) +
                                  " is not supported; compressed-tensors is");
    for (const char* unsupported : {"sparsity_config", "transform_config"})
        if (present(part, unsupported) && !(part[unsupported].is_object() &&
                                            part[unsupported].value("format", json()) == "dense"))
            throwBadInput(origin,
                          std::string("quantization_config: ") + unsupported + " is not supported");
    CompressedTensorsConfig out;
    out.m_origin = origin;
    out.m_ignore = names(part.value("ignore", json()), origin, "quantization_config: ignore");
    if (present(part, "kv_cache_scheme"))
        out.m_warnings.push_back(
            "the file's kv_cache_scheme is not applied: keys and values keep full precision");
    if (!present(part, "config_groups") || !part["config_groups"].is_object())
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
    if (!group.is_object() || !present(group, "weights") || !group["weights"].is_object())
        fail("has no weights");
    if (present(group, "output_activations"))
        fail("quantizes outputs, which is not supported");
    const json& weights = group["weights"];
    const auto format = valueOr(group, "format", outerFormat, m_origin);
    const auto bits = valueOr<int>(weights, "num_bits", 8, m_origin);
    const auto type = valueOr<std::string>(weights, "type", "int", m_origin);
    const auto symmetric = valueOr(weights, "symmetric", true, m_origin);
    const auto groupSize = valueOr<std::int64_t>(weights, "group_size", 0, m_origin);
    const auto strategy =
        valueOr<std::string>(weights, "strategy", groupSize > 0 ? "group" : "channel", m_origin);
    Group out;
    const bool bytes = format == "int-quantized" || format == "pack-quantized";
    if (bytes && bits == 8 && type == "int" && symmetric && strategy == "channel") {
        out.scheme = *findQuantScheme("w8a16");
    } else if (format == "pack-quantized" && bits == 4 && type == "int" &&
               (strategy == "group" || strategy == "channel")) {
        if (strategy == "group" && (groupSize < 8 || groupSize % 8 != 0 || groupSize > (1 << 24)))
            fail("has the group size " + std::to_string(groupSize) + "; a multiple of 8 is wanted");
        out.scheme = int4Scheme(strategy == "group" ? static_cast<int>(groupSize) : 0, symmetric);
    } else {
        fail("is " + std::to_string(bits) + "-bit " + type + " per " + strategy + " as " +
             inQuotes(format) +
             ", which is not supported; symmetric int8 per channel and int4 per group "
             "(pack-quantized) are");
    }
    if (readActivations(group, out.scheme, m_origin, m_warnings))
        out.scheme = *findQuantScheme("int8");
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

QuantizedTensor readCompressedWeight(const StoredTensors& tensors, const std::string& module,
                                     const QuantScheme& scheme, std::int64_t rows,
                                     std::int64_t cols, const std::string& origin) {
    QuantizedTensor out;
    out.scheme = scheme;
    out.rows = rows;
    out.cols = cols;
    if (scheme.format == kernels::WeightFormat::Int8Channel) {
        const auto packed = tensors.find(module + ".weight_packed");
        if (packed != tensors.end()) {
            checkPackedShape(tensors, module, rows, cols, origin);
            checkOrder(tensors, module, cols, cols);
            out.codes = unpackBytes(packed->second, packed->first, rows, cols);
        } else {
            const StoredTensor& codes = need(tensors, module + ".weight", origin);
            expect(codes, module + ".weight", DType::I8, {rows, cols});
            out.codes = codes.tensor;
        }
        out.scales = readScales(tensors, module, rows, 1, origin);
        return out;
    }
    const std::int64_t group = scheme.groupSize > 0 ? scheme.groupSize : cols;
    const StoredTensor& codes = need(tensors, module + ".weight_packed", origin);
    if (cols % 8 != 0 || cols % group != 0)
        throwBadInput(codes.file, "tensor " + inQuotes(module + ".weight_packed") + ": rows of " +
                                      std::to_string(cols) +
                                      " values do not divide into groups of " +
                                      std::to_string(group));
    expect(codes, module + ".weight_packed", DType::I32, {rows, cols / 8});
    checkPackedShape(tensors, module, rows, cols, origin);
    checkOrder(tensors, module, cols, group);
    out.codes = codes.tensor;
    out.scales = readScales(tensors, module, rows, cols / group, origin);
    if (!scheme.symmetric) {
        const std::string name = module + ".weight_zero_point";
        const StoredTensor& zeros = need(tensors, name, origin);
        expect(zeros, name, DType::I32, {(rows + 7) / 8, cols / group});
        out.zeroPoints = zeros.tensor;
    }
    return out;
}

}  // namespace fettle
