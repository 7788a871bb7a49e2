#include "engine/io/compressed_scheme.h"

#include <optional>

#include "engine/core/error.h"
#include "engine/io/compressed_json.h"
#include "engine/io/strict_json.h"

namespace fettle {
namespace {

using kernels::WeightFormat;
using nlohmann::json;

// Layouts of ours in the style of the package's; no other program reads them.
constexpr const char* kMxFp6Name = "mxfp6-pack-quantized";
constexpr const char* kNf4Name = "nf4-pack-quantized";

/// The common keys of QuantizationArgs.
json arguments(int bits, const char* type, bool symmetric, const char* strategy, int groupSize,
               json dynamic) {
    return {{"num_bits", bits},
            {"type", type},
            {"symmetric", symmetric},
            {"strategy", strategy},
            {"group_size", groupSize > 0 ? json(groupSize) : json()},
            {"dynamic", std::move(dynamic)},
            {"actorder", nullptr},
            {"block_structure", nullptr},
            {"observer", nullptr},
            {"observer_kwargs", json::object()}};
}

/// QuantizationArgs as read.
struct Arguments {
    int bits = 8;
    std::string type;
    std::string strategy;
    bool symmetric = true;
    std::int64_t groupSize = 0;
    bool dynamic = false;  ///< also where only the block scales are ("local")
    bool squares = false;  ///< blocks of 128 x 128

    bool isInt(int wanted) const { return type == "int" && bits == wanted; }
    bool isFloat(int wanted) const { return type == "float" && bits == wanted && symmetric; }
};

Arguments readArguments(const json& object, const std::string& origin) {
    Arguments a;
    a.bits = valueOr<int>(object, "num_bits", 8, origin);
    a.type = valueOr<std::string>(object, "type", "int", origin);
    a.symmetric = valueOr(object, "symmetric", true, origin);
    a.groupSize = valueOr<std::int64_t>(object, "group_size", 0, origin);
    a.strategy =
        valueOr<std::string>(object, "strategy", a.groupSize > 0 ? "group" : "channel", origin);
    a.squares =
        object.contains("block_structure") && object["block_structure"] == json::array({128, 128});
    a.dynamic =
        object.contains("dynamic") && (object["dynamic"] == true || object["dynamic"] == "local");
    return a;
}

std::optional<QuantScheme> weightScheme(const Arguments& w, const std::string& format) {
    const bool bytes = format == "int-quantized" || format == "pack-quantized";
    if (bytes && w.isInt(8) && w.symmetric && w.strategy == "channel")
        return findQuantScheme("w8a16");
    if (format == "float-quantized" && w.isFloat(8) &&
        (w.strategy == "channel" || w.strategy == "tensor")) {
        QuantScheme scheme = *findQuantScheme(w.strategy == "tensor" ? "fp8-tensor" : "fp8");
        scheme.activations = ActivationFormat::None;
        return scheme;
    }
    if (format == "float-quantized" && w.isFloat(8) && w.strategy == "block" && w.squares)
        return findQuantScheme("fp8-block128");
    if (format == "nvfp4-pack-quantized" && w.isFloat(4) && w.groupSize == 16 &&
        w.strategy == "tensor_group")
        return findQuantScheme("nvfp4-w4a16");
    if (format == "mxfp4-pack-quantized" && w.isFloat(4) && w.groupSize == 32)
        return findQuantScheme("mxfp4-w4a16");
    if (format == "mxfp8-quantized" && w.isFloat(8) && w.groupSize == 32)
        return findQuantScheme("mxfp8-w8a16");
    if (format == kMxFp6Name && w.isFloat(6) && w.groupSize == 32)
        return findQuantScheme("mxfp6-w6a16");
    if (format == kNf4Name && w.isFloat(4) && (w.groupSize == 32 || w.groupSize == 64))
        return findQuantScheme(w.groupSize == 64 ? "nf4" : "nf4-g32");
    if (format != "pack-quantized" || w.type != "int" || w.bits < 2 || w.bits > 4 ||
        (w.strategy != "group" && w.strategy != "channel") || w.groupSize > (1 << 24))
        return std::nullopt;
    const std::string size = w.strategy == "group" ? "g" + std::to_string(w.groupSize) : "channel";
    return findQuantScheme("int" + std::to_string(w.bits) + "-" + size +
                           (w.symmetric ? "" : "-asym"));
}

/// The scheme that also does to activations what `a` says; nothing for what no scheme does.
std::optional<QuantScheme> withActivations(const QuantScheme& scheme, const Arguments& a) {
    const bool token = a.strategy == "token" && a.dynamic && a.symmetric;
    const bool fixed = a.strategy == "tensor" && !a.dynamic && a.symmetric;
    switch (scheme.format) {
        case WeightFormat::Int8Channel:
            if (fixed && a.isInt(8))
                return findQuantScheme("int8-static");
            return token && a.isInt(8) ? findQuantScheme("int8") : std::nullopt;
        case WeightFormat::Fp8Channel:
            return token && a.isFloat(8) ? findQuantScheme(scheme.id) : std::nullopt;
        case WeightFormat::Fp8Group:  // the caller says that they are not rounded
            return a.isFloat(8) && a.groupSize == 128 && a.dynamic ? std::optional(scheme)
                                                                   : std::nullopt;
        case WeightFormat::NvFp4:
            return a.isFloat(4) && a.groupSize == 16 && a.dynamic ? findQuantScheme("nvfp4")
                                                                  : std::nullopt;
        case WeightFormat::MxFp4:
            return a.isFloat(4) && a.groupSize == 32 && a.dynamic ? findQuantScheme("mxfp4")
                                                                  : std::nullopt;
        case WeightFormat::MxFp8:
            return a.isFloat(8) && a.groupSize == 32 && a.dynamic ? findQuantScheme("mxfp8")
                                                                  : std::nullopt;
        default:
            break;
    }
    if (token && a.isInt(8))
        return findQuantScheme(scheme.id + "-a8");
    if (a.isInt(4) && a.groupSize == 32 && a.dynamic && a.symmetric)
        return findQuantScheme(scheme.id + "-a4");
    return std::nullopt;
}

}  // namespace

const char* compressedFormatName(const QuantScheme& scheme) {
    switch (scheme.format) {
        case WeightFormat::Fp8Channel:
        case WeightFormat::Fp8Group:
            return "float-quantized";
        case WeightFormat::NvFp4:
            return "nvfp4-pack-quantized";
        case WeightFormat::MxFp4:
            return "mxfp4-pack-quantized";
        case WeightFormat::MxFp8:
            return "mxfp8-quantized";
        case WeightFormat::MxFp6:
            return kMxFp6Name;
        case WeightFormat::Nf4Group:
            return kNf4Name;
        default:
            break;
    }
    // Weight-only int8 is read as packed words by the runtimes; with int8 activations, as plain
    // bytes.
    const bool bytes = scheme.format == WeightFormat::Int8Channel && scheme.quantizesActivations();
    return bytes ? "int-quantized" : "pack-quantized";
}

json weightArguments(const QuantScheme& scheme) {
    const bool group = scheme.granularity == Granularity::Group;
    const bool floats = scheme.format == WeightFormat::Fp8Channel ||
                        scheme.format == WeightFormat::NvFp4 ||
                        scheme.format == WeightFormat::MxFp4 || kernels::isWidened(scheme.format);
    const bool squares = scheme.format == WeightFormat::Fp8Group;
    const char* strategy = scheme.format == WeightFormat::NvFp4        ? "tensor_group"
                           : squares                                   ? "block"
                           : scheme.granularity == Granularity::Tensor ? "tensor"
                           : group                                     ? "group"
                                                                       : "channel";
    json out = arguments(scheme.bits, floats ? "float" : "int", scheme.symmetric, strategy,
                         squares ? 0 : scheme.groupSize, false);
    if (squares)
        out["block_structure"] = {scheme.groupSize, scheme.groupSize};
    out["observer"] = "minmax";
    const bool power = scheme.format == WeightFormat::MxFp4 ||
                       scheme.format == WeightFormat::MxFp8 || scheme.format == WeightFormat::MxFp6;
    if (power)  // readers tell it by the type of its scales
        out["scale_dtype"] = out["zp_dtype"] = "torch.uint8";
    return out;
}

json activationArguments(const QuantScheme& scheme) {
    switch (scheme.activations) {
        case ActivationFormat::Int8Token:
            return arguments(8, "int", true, "token", 0, true);
        case ActivationFormat::Int8Tensor: {
            json out = arguments(8, "int", true, "tensor", 0, false);
            out["observer"] = "minmax";
            return out;
        }
        case ActivationFormat::Int4Group32:
            return arguments(4, "int", true, "group", 32, true);
        case ActivationFormat::Fp8Token:
            return arguments(8, "float", true, "token", 0, true);
        case ActivationFormat::NvFp4:
            return arguments(4, "float", true, "tensor_group", 16, "local");
        case ActivationFormat::MxFp4:
        case ActivationFormat::MxFp8: {
            const int bits = scheme.activations == ActivationFormat::MxFp4 ? 4 : 8;
            json out = arguments(bits, "float", true, "group", 32, true);
            out["scale_dtype"] = out["zp_dtype"] = "torch.uint8";
            return out;
        }
        default:
            return nullptr;
    }
}

QuantScheme schemeFromGroup(const json& group, const std::string& format, const std::string& where,
                            const std::string& origin, std::vector<std::string>& warnings) {
    const Arguments weights = readArguments(group["weights"], origin);
    const std::optional<QuantScheme> scheme = weightScheme(weights, format);
    if (!scheme)
        throwBadInput(
            origin, "quantization_config: " + where + " is " + std::to_string(weights.bits) +
                        "-bit " + weights.type + " per " + weights.strategy +
                        (weights.groupSize > 0 ? " of " + std::to_string(weights.groupSize) : "") +
                        " as " + inQuotes(format) +
                        ", which is not supported; symmetric int8 and E4M3 per channel, E4M3 per "
                        "tensor and per 128 x 128, int2 to int4 per "
                        "group (a multiple of 32, for int4 of 8), NVFP4, MXFP4 and MXFP8 are");
    if (!isPresent(group, "input_activations")) {
        if (scheme->format != WeightFormat::Fp8Channel)
            return *scheme;
        warnings.push_back(
            "activations of fp8 weights are rounded to E4M3 per token here, which "
            "the file does not ask for");
        return *findQuantScheme(scheme->id);
    }
    const json& input = group["input_activations"];
    if (!input.is_object())
        throwBadInput(origin, "quantization_config: input_activations is not an object");
    const Arguments activations = readArguments(input, origin);
    const std::optional<QuantScheme> both = withActivations(*scheme, activations);
    if (!both)
        throwBadInput(origin, "quantization_config: " + where + " has activations of " +
                                  std::to_string(activations.bits) + "-bit " + activations.type +
                                  " per " + activations.strategy +
                                  (activations.dynamic ? "" : ", not dynamic") +
                                  " beside weights of " + scheme->id + ", which is not supported");
    if (both->format == WeightFormat::Fp8Group)
        warnings.push_back(
            "activations of fp8 weights in blocks keep their precision here, where the file asks "
            "for E4M3 per 128 values");
    return *both;
}

}  // namespace fettle
