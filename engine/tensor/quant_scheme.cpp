#include "engine/tensor/quant_scheme.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <limits>

namespace fettle {
namespace {

using kernels::WeightFormat;

struct BlockEntry {
    WeightFormat format;
    const char* id;
    int bits;
    int groupSize;
    bool symmetric;
};
// Bits of one code; the scales come on top (see bitsPerWeight).
constexpr std::array kBlocks = {
    BlockEntry{WeightFormat::Q8_0, "q8_0", 8, 32, true},
    BlockEntry{WeightFormat::Q4_0, "q4_0", 4, 32, true},
    BlockEntry{WeightFormat::Q4_1, "q4_1", 4, 32, false},
    BlockEntry{WeightFormat::Q5_0, "q5_0", 5, 32, true},
    BlockEntry{WeightFormat::Q5_1, "q5_1", 5, 32, false},
    BlockEntry{WeightFormat::Q3_K, "q3_k", 3, 16, true},
    BlockEntry{WeightFormat::Q4_K, "q4_k", 4, 32, false},
    BlockEntry{WeightFormat::Q5_K, "q5_k", 5, 32, false},
    BlockEntry{WeightFormat::Q6_K, "q6_k", 6, 16, true},
};

QuantScheme make(const BlockEntry& entry) {
    return {entry.id,        entry.format,          entry.bits, Granularity::Group, entry.groupSize,
            entry.symmetric, ActivationFormat::None};
}

constexpr const char* kFp8Tensor = "fp8-tensor";

// Schemes whose names stand for all there is to know.
struct NamedEntry {
    const char* id;
    WeightFormat format;
    int bits;
    int groupSize;
    ActivationFormat activations;
};
constexpr std::array kNamed = {
    NamedEntry{"int8", WeightFormat::Int8Channel, 8, 0, ActivationFormat::Int8Token},
    NamedEntry{"int8-static", WeightFormat::Int8Channel, 8, 0, ActivationFormat::Int8Tensor},
    NamedEntry{"w8a16", WeightFormat::Int8Channel, 8, 0, ActivationFormat::None},
    NamedEntry{"fp8", WeightFormat::Fp8Channel, 8, 0, ActivationFormat::Fp8Token},
    NamedEntry{kFp8Tensor, WeightFormat::Fp8Channel, 8, 0, ActivationFormat::Fp8Token},
    NamedEntry{"fp8-block128", WeightFormat::Fp8Group, 8, 128, ActivationFormat::None},
    NamedEntry{"nvfp4", WeightFormat::NvFp4, 4, 16, ActivationFormat::NvFp4},
    NamedEntry{"nvfp4-w4a16", WeightFormat::NvFp4, 4, 16, ActivationFormat::None},
    NamedEntry{"mxfp4", WeightFormat::MxFp4, 4, 32, ActivationFormat::MxFp4},
    NamedEntry{"mxfp4-w4a16", WeightFormat::MxFp4, 4, 32, ActivationFormat::None},
    NamedEntry{"mxfp8", WeightFormat::MxFp8, 8, 32, ActivationFormat::MxFp8},
    NamedEntry{"mxfp8-w8a16", WeightFormat::MxFp8, 8, 32, ActivationFormat::None},
    NamedEntry{"mxfp6-w6a16", WeightFormat::MxFp6, 6, 32, ActivationFormat::None},
    NamedEntry{"nf4", WeightFormat::Nf4Group, 4, 64, ActivationFormat::None},
    NamedEntry{"nf4-g32", WeightFormat::Nf4Group, 4, 32, ActivationFormat::None},
};

/// Takes `suffix` off the end of `id`, if it is there.
bool takeSuffix(std::string_view& id, std::string_view suffix) {
    const bool there = id.ends_with(suffix);
    if (there)
        id.remove_suffix(suffix.size());
    return there;
}

/// A positive multiple of `unit` written without signs, zeros or spaces in front; 0 otherwise.
int groupSizeOf(std::string_view text, int unit) {
    int group = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), group);
    const bool whole =
        error == std::errc() && end == text.data() + text.size() && std::to_string(group) == text;
    return whole && group >= unit && group % unit == 0 ? group : 0;
}

const char* activationSuffix(ActivationFormat activations) {
    switch (activations) {
        case ActivationFormat::Int8Token:
            return "-a8";
        case ActivationFormat::Int4Group32:
            return "-a4";
        default:
            return "";
    }
}

WeightFormat groupFormat(int bits) {
    return bits == 2   ? WeightFormat::Int2Group
           : bits == 3 ? WeightFormat::Int3Group
                       : WeightFormat::Int4Group;
}

}  // namespace

ActivationFormat QuantScheme::kernelActivations(std::int64_t cols) const {
    if (activations != ActivationFormat::None)
        return activations;
    if (format == WeightFormat::Int8Channel && cols % 32 != 0)
        return ActivationFormat::Int8Token;
    return format <= WeightFormat::BF16 || kernels::isWidened(format)
               ? ActivationFormat::None
               : ActivationFormat::Int8Group32;
}

bool QuantScheme::hasQuantizer() const {
    return (symmetric || format == WeightFormat::Int4Group) && format >= WeightFormat::Int8Channel;
}

std::int64_t QuantScheme::rowsPerScale() const {
    return granularity == Granularity::Tensor          ? std::numeric_limits<std::int64_t>::max()
           : format == kernels::WeightFormat::Fp8Group ? groupSize
                                                       : 1;
}

int QuantScheme::scaleBits(int otherwise) const {
    return format == WeightFormat::NvFp4 || format == WeightFormat::MxFp4 ||
                   format == WeightFormat::MxFp8 || format == WeightFormat::MxFp6
               ? 8
               : otherwise;
}

double QuantScheme::bitsPerWeight(std::int64_t k, int scaleBitsElsewhere) const {
    const std::int64_t values = kernels::blockValues(format);
    if (values > 1)
        return 8.0 * static_cast<double>(kernels::blockBytes(format)) / static_cast<double>(values);
    const double group =
        groupSize > 0 ? groupSize : static_cast<double>(std::max<std::int64_t>(k, 1));
    return bits + (scaleBits(scaleBitsElsewhere) + (symmetric ? 0 : bits)) / group;
}

QuantScheme blockScheme(WeightFormat format) {
    for (const BlockEntry& entry : kBlocks)
        if (entry.format == format)
            return make(entry);
    return {};
}

QuantScheme intScheme(int bits, int groupSize, bool symmetric, ActivationFormat activations) {
    QuantScheme scheme;
    scheme.format = groupFormat(bits);
    scheme.bits = bits;
    scheme.granularity = groupSize > 0 ? Granularity::Group : Granularity::Channel;
    scheme.groupSize = groupSize;
    scheme.symmetric = symmetric;
    scheme.activations = activations;
    scheme.id = "int" + std::to_string(bits) +
                (groupSize > 0 ? "-g" + std::to_string(groupSize) : std::string("-channel")) +
                (symmetric ? "" : "-asym") + activationSuffix(activations);
    return scheme;
}

QuantScheme int4Scheme(int groupSize, bool symmetric) {
    return intScheme(4, groupSize, symmetric, ActivationFormat::None);
}

QuantScheme withGroupSize(const QuantScheme& scheme, int groupSize) {
    if (scheme.format == WeightFormat::Nf4Group)
        return *findQuantScheme(groupSize == 64 ? "nf4" : "nf4-g" + std::to_string(groupSize));
    return intScheme(scheme.bits, groupSize, scheme.symmetric, scheme.activations);
}

std::optional<QuantScheme> findQuantScheme(std::string_view id) {
    for (const NamedEntry& entry : kNamed)
        if (id == entry.id)
            return QuantScheme{entry.id,
                               entry.format,
                               entry.bits,
                               id == kFp8Tensor      ? Granularity::Tensor
                               : entry.groupSize > 0 ? Granularity::Group
                                                     : Granularity::Channel,
                               entry.groupSize,
                               true,
                               entry.activations};
    for (const BlockEntry& entry : kBlocks)
        if (id == entry.id)
            return make(entry);
    const ActivationFormat activations = takeSuffix(id, "-a8")   ? ActivationFormat::Int8Token
                                         : takeSuffix(id, "-a4") ? ActivationFormat::Int4Group32
                                                                 : ActivationFormat::None;
    const bool symmetric = !takeSuffix(id, "-asym");
    if (id == "int4-channel")
        return intScheme(4, 0, symmetric, activations);
    for (const int bits : {4, 3, 2}) {
        const std::string prefix = "int" + std::to_string(bits) + "-g";
        if (!id.starts_with(prefix) || (bits != 4 && !symmetric))
            continue;
        const bool plain = bits == 4 && activations == ActivationFormat::None;
        const int group = groupSizeOf(id.substr(prefix.size()), plain ? 8 : 32);
        if (group > 0)
            return intScheme(bits, group, symmetric, activations);
    }
    return std::nullopt;
}

}  // namespace fettle
