#include "kernels/cuda/weight_layout.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

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

void packHigh(const WeightLayout& layout, const std::uint8_t* codes, std::byte* out) {
    const int bits = layout.codes == CodeKind::Bits5 ? 1 : 2;
    const int perByte = 8 / bits;
    std::uint8_t bytes[8] = {};
    for (int i = 0; i < kGroupValues; ++i) {
        const int step = i / 4;
        bytes[4 * (step / perByte) + i % 4] |=
            static_cast<std::uint8_t>((codes[i] >> 4) << (bits * (step % perByte)));
    }
    std::memcpy(out, bytes, static_cast<std::size_t>(4 * bits));
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
            packHigh(layout, codes, at);
        else if (layout.codes == CodeKind::Bits8)
            std::memcpy(at, codes, kGroupValues);
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
    } else if (w.format == WeightFormat::Int4Group) {
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

void setKinds(const WeightView& w, WeightLayout& l) {
    using F = WeightFormat;
    using C = CodeKind;
    using S = ScaleKind;
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
            return kinds(C::Row8, S::Row, 0);
        case F::Int4Group:
            kinds(C::Bits4,
                  w.scaleType == ScaleType::F32   ? S::F32
                  : w.scaleType == ScaleType::F16 ? S::F16
                                                  : S::BF16,
                  8);
            l.groupsPerScale = static_cast<int>(w.groupSize / kGroupValues);
            l.zeroPoints = w.zeroPoints != nullptr;
            return;
        default:
            throw std::invalid_argument(std::string("no device layout for ") + name(w.format));
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
        case CodeKind::Bits8:
            s[0] = cols;
            break;
        case CodeKind::Bits4:
        case CodeKind::Bits5:
        case CodeKind::Bits6:
            s[0] = cols / 2;
            s[1] = l.codes == CodeKind::Bits4   ? 0
                   : l.codes == CodeKind::Bits5 ? 4 * groups
                                                : 8 * groups;
            break;
    }
    switch (l.scales) {
        case ScaleKind::None:
            break;
        case ScaleKind::Row:
            s[2] = 4;
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

}  // namespace

bool hasLayout(const WeightView& w) {
    // The kernels of each layout round activations in one way.
    const ActivationFormat rounding = w.format <= WeightFormat::BF16 ? ActivationFormat::None
                                      : w.format == WeightFormat::Int8Channel
                                          ? ActivationFormat::Int8Token
                                          : ActivationFormat::Int8Group32;
    if (activationsOf(w) != rounding)
        return false;
    if (w.format == WeightFormat::Int4Group)
        return w.groupSize > 0 && w.groupSize % kGroupValues == 0 && w.cols % w.groupSize == 0;
    return w.format <= WeightFormat::Int8Channel && w.cols % blockValues(w.format) == 0;
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
