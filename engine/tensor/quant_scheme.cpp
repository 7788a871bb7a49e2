#include "engine/tensor/quant_scheme.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

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
    BlockEntry{WeightFormat::Q4_K, "q4_k", 4, 32, false},
    BlockEntry{WeightFormat::Q5_K, "q5_k", 5, 32, false},
    BlockEntry{WeightFormat::Q6_K, "q6_k", 6, 16, true},
};

QuantScheme make(const BlockEntry& entry) {
    return {entry.id,        entry.format,    entry.bits, Granularity::Group,
            entry.groupSize, entry.symmetric, false};
}

}  // namespace

double QuantScheme::bitsPerWeight(std::int64_t k, int scaleBits) const {
    const std::int64_t values = kernels::blockValues(format);
    if (values > 1)
        return 8.0 * static_cast<double>(kernels::blockBytes(format)) / static_cast<double>(values);
    const double group =
        groupSize > 0 ? groupSize : static_cast<double>(std::max<std::int64_t>(k, 1));
    return bits + (scaleBits + (symmetric ? 0 : bits)) / group;
}

QuantScheme blockScheme(WeightFormat format) {
    for (const BlockEntry& entry : kBlocks)
        if (entry.format == format)
            return make(entry);
    return {};
}

QuantScheme int4Scheme(int groupSize, bool symmetric) {
    QuantScheme scheme;
    scheme.id =
        (groupSize > 0 ? "int4-g" + std::to_string(groupSize) : std::string("int4-channel")) +
        (symmetric ? "" : "-asym");
    scheme.format = WeightFormat::Int4Group;
    scheme.bits = 4;
    scheme.granularity = groupSize > 0 ? Granularity::Group : Granularity::Channel;
    scheme.groupSize = groupSize;
    scheme.symmetric = symmetric;
    return scheme;
}

std::optional<QuantScheme> findQuantScheme(std::string_view id) {
    if (id == "int8" || id == "w8a16")
        return QuantScheme{
            std::string(id), WeightFormat::Int8Channel, 8, Granularity::Channel, 0, true,
            id == "int8"};
    for (const BlockEntry& entry : kBlocks)
        if (id == entry.id)
            return make(entry);
    constexpr std::string_view kAsymmetric = "-asym";
    const bool symmetric = !id.ends_with(kAsymmetric);
    if (!symmetric)
        id.remove_suffix(kAsymmetric.size());
    if (id == "int4-channel")
        return int4Scheme(0, symmetric);
    if (!id.starts_with("int4-g"))
        return std::nullopt;
    id.remove_prefix(6);
    int group = 0;
    const auto [end, error] = std::from_chars(id.data(), id.data() + id.size(), group);
    if (error != std::errc() || end != id.data() + id.size() || group < 8 || group % 8 != 0 ||
        std::to_string(group) != id)
        return std::nullopt;
    return int4Scheme(group, symmetric);
}

}  // namespace fettle
