#include "kernels/cuda/weight_layout.h"

#include <algorithm>
#include <cstring>
#include <optional>

namespace fettle::kernels::cuda {
namespace {

constexpr std::size_t kSectionAlignment = 256;
constexpr std::size_t kRowAlignment = 16;
constexpr std::int64_t kSuperGroups = 8;  // groups of a K-quants' super-block

std::size_t roundUp(std::size_t n, std::size_t multiple) {
    return (n + multiple - 1) / multiple * multiple;
}

const std::uint8_t* rowBytesOf(const WeightView& w, std::int64_t row) {
    return static_cast<const std::uint8_t*>(w.data) +
           static_cast<std::size_t>(row) * rowBytes(w.format, w.cols);
}

bool isSuper(WeightFormat format) {
    return blockValues(format) == kSuperGroups * kGroupValues;
}

/// The codes of group `g` of a row as the format stores them.
void codesOfGroup(const WeightView& w, std::int64_t row, std::int64_t g, std::uint8_t* out) {
    const std::uint8_t* line = rowBytesOf(w, row);
    if (w.format == WeightFormat::Int4Group) {
        for (int i = 0; i < kGroupValues; ++i)
            out[i] = line[16 * g + i / 2] >> (4 * (i % 2)) & 15;
        return;
    }
    if (hasGroups(w.format))
        return groupCodes(w, row, g, out);
    if (w.format == WeightFormat::Int8Channel || w.format == WeightFormat::Fp8Channel) {
        std::memcpy(out, line + kGroupValues * g, kGroupValues);
        return;
    }
    if (isSuper(w.format)) {
        const std::uint8_t* block =
            line + static_cast<std::size_t>(g / kSuperGroups) * blockBytes(w.format);
        const auto s = static_cast<int>(g % kSuperGroups);
        for (int l = 0; l < kGroupValues; ++l) {
            if (w.format == WeightFormat::Q6_K || w.format == WeightFormat::Q3_K) {
                out[l] = static_cast<std::uint8_t>(w.format == WeightFormat::Q6_K
                                                       ? sixBitCode(block, 32 * s + l)
                                                       : threeBitCode(block, 32 * s + l));
                continue;
            }
            const bool five = w.format == WeightFormat::Q5_K;
            const std::uint8_t* qs = block + (five ? 48 : 16);
            const int high = five ? (block[16 + l] >> s & 1) << 4 : 0;
            out[l] = static_cast<std::uint8_t>((qs[32 * (s / 2) + l] >> (4 * (s % 2)) & 15) | high);
        }
        return;
    }
    const std::uint8_t* block = line + static_cast<std::size_t>(g) * blockBytes(w.format);
    const bool min = w.format == WeightFormat::Q4_1 || w.format == WeightFormat::Q5_1;
    const bool five = w.format == WeightFormat::Q5_0 || w.format == WeightFormat::Q5_1;
    const std::uint8_t* qh = block + (min ? 4 : 2);
    const std::uint8_t* qs = qh + (five ? 4 : 0);
    if (w.format == WeightFormat::Q8_0) {
        std::memcpy(out, qs, kGroupValues);
        return;
    }
    for (int i = 0; i < kGroupValues; ++i) {
        const int low = i < 16 ? qs[i] & 15 : qs[i - 16] >> 4;
        const int high = five ? (qh[i / 8] >> (i % 8) & 1) << 4 : 0;
        out[i] = static_cast<std::uint8_t>(low | high);
    }
}

void packNibbles(const std::uint8_t* codes, std::byte* out) {
    for (int w = 0; w < 4; ++w)
        for (int e = 0; e < 4; ++e)
            out[4 * w + e] =
                static_cast<std::byte>((codes[8 * w + e] & 15) | (codes[8 * w + 4 + e] & 15) << 4);
}

/// `bits` bits of each code from bit `first` on.
void packBits(const std::uint8_t* codes, int first, int bits, std::byte* out) {
    const int perByte = 8 / bits;
    std::uint8_t bytes[8] = {};
    for (int i = 0; i < kGroupValues; ++i) {
        const int step = i / 4, part = codes[i] >> first & ((1 << bits) - 1);
        bytes[4 * (step / perByte) + i % 4] |=
            static_cast<std::uint8_t>(part << (bits * (step % perByte)));
    }
    std::memcpy(out, bytes, static_cast<std::size_t>(4 * bits));
}

bool hasBytes(CodeKind codes) {
    return codes == CodeKind::Bits8 || codes == CodeKind::E4M3;
}
bool hasTwoBits(CodeKind codes) {
    return codes == CodeKind::Bits2 || codes == CodeKind::Bits3;
}
/// Bits of a code that lie in the section high.
int highBits(CodeKind codes) {
    switch (codes) {
        case CodeKind::Bits3:
        case CodeKind::Bits5:
            return 1;
        case CodeKind::Bits6:
        case CodeKind::E2M3:
            return 2;
        default:
            return 0;
    }
}

void packCodeRow(const WeightView& w, const WeightLayout& layout, int section, std::int64_t row,
                 std::byte* out) {
    const std::size_t stride = layout.sections[static_cast<std::size_t>(section)].stride;
    if (layout.codes <= CodeKind::BF16 || layout.codes == CodeKind::Row8) {
        const std::size_t used = row < w.rows ? rowBytes(w.format, w.cols) : 0;
        if (used > 0)
            std::memcpy(out, rowBytesOf(w, row), used);
        std::memset(out + used, 0, stride - used);
        return;
    }
    std::uint8_t codes[kGroupValues];
    const std::int64_t groups = w.cols / kGroupValues;
    for (std::int64_t g = 0; g < groups; ++g) {
        std::byte* at =
            out + static_cast<std::size_t>(g) * (stride / static_cast<std::size_t>(groups));
        codesOfGroup(w, row, g, codes);
        if (section == WeightLayout::kHigh)
            packBits(codes, hasTwoBits(layout.codes) ? 2 : 4, highBits(layout.codes), at);
        else if (hasBytes(layout.codes))
            std::memcpy(at, codes, kGroupValues);
        else if (hasTwoBits(layout.codes))
            packBits(codes, 0, 2, at);
        else
            packNibbles(codes, at);
    }
}

const std::uint8_t* superBlock(const WeightView& w, std::int64_t row, std::int64_t s) {
    return rowBytesOf(w, row) + static_cast<std::size_t>(s) * blockBytes(w.format);
}

void packScaleRow(const WeightView& w, const WeightLayout& layout, std::int64_t row,
                  std::byte* out) {
    const std::size_t stride = layout.sections[WeightLayout::kScales].stride;
    if (layout.scales == ScaleKind::Row) {
        const float scale = weightScale(w, row);
        std::memcpy(out, &scale, sizeof scale);
    } else if (hasGroups(w.format)) {
        std::memcpy(
            out, static_cast<const std::byte*>(w.scales) + static_cast<std::size_t>(row) * stride,
            stride);
    } else {
        const std::size_t each =
            layout.scales == ScaleKind::F16 || layout.scales == ScaleKind::Sub16 ? 2 : 4;
        const int from = w.format == WeightFormat::Q6_K   ? 208
                         : w.format == WeightFormat::Q3_K ? 108
                                                          : 0;
        for (std::size_t b = 0; b < stride / each; ++b)
            std::memcpy(out + b * each, superBlock(w, row, static_cast<std::int64_t>(b)) + from,
                        each);
    }
}

void packSubRow(const WeightView& w, const WeightLayout& layout, std::int64_t row, std::byte* out) {
    const std::int64_t groups = w.cols / kGroupValues;
    for (std::int64_t g = 0; g < groups; ++g) {
        const auto s = static_cast<int>(g % kSuperGroups);
        if (layout.scales == ScaleKind::SubMin) {
            const SubScale sub = subScale(superBlock(w, row, g / kSuperGroups) + 4, s);
            out[2 * g] = static_cast<std::byte>(sub.scale);
            out[2 * g + 1] = static_cast<std::byte>(sub.min);
        } else if (w.format == WeightFormat::Q3_K) {
            for (int half = 0; half < 2; ++half)
                out[2 * g + half] = static_cast<std::byte>(
                    threeBitScale(superBlock(w, row, g / kSuperGroups) + 96, 2 * s + half));
        } else if (layout.scales == ScaleKind::Sub16) {
            std::memcpy(out + 2 * g, superBlock(w, row, g / kSuperGroups) + 192 + 2 * s, 2);
        } else if (g % layout.groupsPerScale == 0) {
            out[g / layout.groupsPerScale] =
                static_cast<std::byte>(zeroPoint(w, row, g / layout.groupsPerScale));
        }
    }
}

ScaleKind scaleKindOf(ScaleType type) {
    switch (type) {
        case ScaleType::F32:
            return ScaleKind::F32;
        case ScaleType::F16:
            return ScaleKind::F16;
        case ScaleType::BF16:
            return ScaleKind::BF16;
        case ScaleType::E4M3:
            return ScaleKind::E4M3;
        case ScaleType::E8M0:
            return ScaleKind::E8M0;
    }
    return ScaleKind::None;
}

/// The activations that the kernels for a format's own codes multiply; nothing: there are none.
std::optional<ActivationFormat> nativeActivations(WeightFormat format) {
    switch (format) {
        case WeightFormat::F32:
        case WeightFormat::F16:
        case WeightFormat::BF16:
            return ActivationFormat::None;
        case WeightFormat::Int8Channel:
            return ActivationFormat::Int8Token;
        case WeightFormat::Fp8Channel:
        case WeightFormat::NvFp4:
        case WeightFormat::MxFp4:
            return std::nullopt;
        default:
            return isWidened(format) ? std::nullopt : std::optional(ActivationFormat::Int8Group32);
    }
}

bool isMultipliedAsItIs(const WeightView& w) {
    return nativeActivations(w.format) == activationsOf(w);
}

void setKinds(const WeightView& w, WeightLayout& l) {
    using F = WeightFormat;
    using C = CodeKind;
    using S = ScaleKind;
    l.widened = !isMultipliedAsItIs(w);
    if (hasGroups(w.format)) {
        l.groupsPerScale = static_cast<int>(std::max<std::int64_t>(1, w.groupSize / kGroupValues));
        l.zeroPoints = w.zeroPoints != nullptr;
        l.global = w.format == F::NvFp4 ? w.globalScale : 1.0F;
    }
    const S each = scaleKindOf(w.scaleType);
    const auto kinds = [&](C codes, S scales, int zero) {
        l.codes = codes;
        l.scales = scales;
        l.zero = zero;
    };
    switch (w.format) {
        case F::F32:
            return kinds(C::F32, S::None, 0);
        case F::F16:
            return kinds(C::F16, S::None, 0);
        case F::BF16:
            return kinds(C::BF16, S::None, 0);
        case F::Q8_0:
            return kinds(C::Bits8, S::F16, 0);
        case F::Q4_0:
            return kinds(C::Bits4, S::F16, 8);
        case F::Q4_1:
            return kinds(C::Bits4, S::F16Min, 0);
        case F::Q5_0:
            return kinds(C::Bits5, S::F16, 16);
        case F::Q5_1:
            return kinds(C::Bits5, S::F16Min, 0);
        case F::Q3_K:  // its three bits as four: no kernel reads narrower codes
            return kinds(C::Bits4, S::Sub16, 4);
        case F::Q4_K:
            return kinds(C::Bits4, S::SubMin, 0);
        case F::Q5_K:
            return kinds(C::Bits5, S::SubMin, 0);
        case F::Q6_K:
            return kinds(C::Bits6, S::Sub16, 32);
        case F::Int8Channel:
            return kinds(l.widened ? C::Bits8 : C::Row8, S::Row, 0);
        case F::Int4Group:
            return kinds(C::Bits4, each, 8);
        case F::Int3Group:
            return kinds(C::Bits3, each, 4);
        case F::Int2Group:
            return kinds(C::Bits2, each, 2);
        case F::Fp8Channel:
            return kinds(C::E4M3, S::Row, 0);
        case F::MxFp8:
        case F::Fp8Group:
            return kinds(C::E4M3, each, 0);
        case F::NvFp4:
        case F::MxFp4:
            return kinds(C::E2M1, each, 0);
        case F::MxFp6:
            return kinds(C::E2M3, each, 0);
        case F::Nf4Group:
            return kinds(C::Nf4, each, 0);
    }
}

/// Bytes of a row in each section.
std::array<std::size_t, WeightLayout::kSections> strides(const WeightLayout& l) {
    const auto cols = static_cast<std::size_t>(l.cols), groups = cols / kGroupValues;
    const auto blocks = groups / static_cast<std::size_t>(l.groupsPerScale);
    std::array<std::size_t, WeightLayout::kSections> s = {};
    switch (l.codes) {
        case CodeKind::F32:
            s[0] = roundUp(4 * cols, kRowAlignment);
            break;
        case CodeKind::F16:
        case CodeKind::BF16:
            s[0] = roundUp(2 * cols, kRowAlignment);
            break;
        case CodeKind::Row8:
            s[0] = roundUp(cols, kRowAlignment);
            break;
        default:
            s[0] = hasBytes(l.codes) ? cols : hasTwoBits(l.codes) ? cols / 4 : cols / 2;
            s[1] = 4 * groups * static_cast<std::size_t>(highBits(l.codes));
    }
    switch (l.scales) {
        case ScaleKind::None:
        case ScaleKind::Each:
            break;
        case ScaleKind::Row:
            s[2] = 4;
            break;
        case ScaleKind::E4M3:
            s[2] = 2 * groups;
            break;
        case ScaleKind::E8M0:
            s[2] = groups;
            break;
        case ScaleKind::F16:
        case ScaleKind::BF16:
            s[2] = 2 * blocks;
            break;
        case ScaleKind::F32:
        case ScaleKind::F16Min:
            s[2] = 4 * blocks;
            break;
        case ScaleKind::SubMin:
            s[2] = 4 * (groups / kSuperGroups);
            break;
        case ScaleKind::Sub16:
            s[2] = 2 * (groups / kSuperGroups);
            break;
    }
    if (l.zeroPoints)
        s[3] = blocks;
    else if (l.scales == ScaleKind::SubMin || l.scales == ScaleKind::Sub16)
        s[3] = 2 * groups;
    return s;
}

/// Whether each group of 32 values has one scale, or two that are E4M3.
bool scalesFit(const WeightView& w) {
    switch (w.scaleType) {
        case ScaleType::E4M3:
            return w.groupSize == kGroupValues / 2;
        case ScaleType::E8M0:
            return w.groupSize == kGroupValues;
        default:
            return w.groupSize > 0 && w.groupSize % kGroupValues == 0 && w.cols % w.groupSize == 0;
    }
}

}  // namespace

bool hasLayout(const WeightView& w) {
    if (isMultipliedAsItIs(w) &&
        (w.format <= WeightFormat::BF16 || w.format == WeightFormat::Int8Channel))
        return true;
    if (w.format <= WeightFormat::BF16)
        return false;  // rounded activations by plain weights: no scheme has them
    const std::int64_t width = std::max<std::int64_t>(kGroupValues, blockValues(w.format));
    return w.cols % width == 0 && (!hasGroups(w.format) || scalesFit(w));
}

WeightLayout weightLayout(const WeightView& w) {
    WeightLayout l;
    l.rows = w.rows;
    l.cols = w.cols;
    setKinds(w, l);
    const auto strideOf = strides(l);
    for (std::size_t s = 0; s < l.sections.size(); ++s) {
        WeightLayout::Section& section = l.sections[s];
        section.begin = l.bytes;
        section.stride = strideOf[s];
        section.rows = l.codes == CodeKind::Row8 && s == 0 ? (w.rows + 3) / 4 * 4 : w.rows;
        l.bytes +=
            roundUp(section.stride * static_cast<std::size_t>(section.rows), kSectionAlignment);
    }
    return l;
}

void packSection(const WeightView& weight, const WeightLayout& layout, int section,
                 std::int64_t begin, std::int64_t end, std::byte* out) {
    for (std::int64_t row = begin; row < end; ++row) {
        if (section <= WeightLayout::kHigh)
            packCodeRow(weight, layout, section, row, out);
        else if (section == WeightLayout::kScales)
            packScaleRow(weight, layout, row, out);
        else
            packSubRow(weight, layout, row, out);
        out += layout.sections[static_cast<std::size_t>(section)].stride;
    }
}

}  // namespace fettle::kernels::cuda
