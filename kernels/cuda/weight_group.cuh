// Reading a group of 32 weights in device code: its codes as eight words of four bytes in order,
// and what its scales make of a product.
#pragma once

#include "kernels/cuda/nf4.cuh"
#include "kernels/cuda/small_float.cuh"
#include "kernels/cuda/weight_layout.h"

namespace fettle::kernels::cuda {

/// The sections of a weight, as kernels take them.
struct WeightSections {
    const std::byte* codes = nullptr;
    const std::byte* high = nullptr;
    const std::byte* scales = nullptr;
    const std::uint8_t* sub = nullptr;
    std::int64_t rows = 0, groups = 0;
    int groupsPerScale = 1;
    int zero = 0;
    // Of scales of every kind (ScaleKind::Each). No gap: launches are compared byte by byte.
    int scaleKind = 0;
    float global = 1;

    explicit WeightSections(const DeviceWeightView& w)
        : codes(w.section(WeightLayout::kCodes)),
          high(w.section(WeightLayout::kHigh)),
          scales(w.section(WeightLayout::kScales)),
          sub(w.layout.sections[WeightLayout::kSub].stride > 0
                  ? reinterpret_cast<const std::uint8_t*>(w.section(WeightLayout::kSub))
                  : nullptr),
          rows(w.layout.rows),
          groups(w.layout.cols / kGroupValues),
          groupsPerScale(w.layout.groupsPerScale),
          zero(w.layout.zero),
          scaleKind(static_cast<int>(w.layout.scales)),
          global(w.layout.global) {}
    template <class Check>
    void forEachPointer(Check check) const {
        check(codes);
        check(scales);
        check(sub);
    }
};

/// A byte a value; otherwise four bits of each, or two, lie together, and the rest in `high`.
template <CodeKind Kind>
constexpr bool kWholeBytes = Kind == CodeKind::Bits8 || Kind == CodeKind::E4M3;
template <CodeKind Kind>
constexpr bool kTwoBits = Kind == CodeKind::Bits2 || Kind == CodeKind::Bits3;
template <CodeKind Kind>
constexpr bool kOneAbove = Kind == CodeKind::Bits3 || Kind == CodeKind::Bits5;
template <CodeKind Kind>
constexpr bool kTwoAbove = Kind == CodeKind::Bits6 || Kind == CodeKind::E2M3;

__device__ __forceinline__ unsigned wordOf(const std::byte* section, std::int64_t number) {
    return reinterpret_cast<const unsigned*>(section)[number];
}

/// Values 4 step .. 4 step + 3 of the eight bytes that hold two bits of each of a group.
__device__ __forceinline__ unsigned twoBits(const unsigned (&words)[2], int step) {
    return words[step / 4] >> (2 * (step % 4)) & 0x03030303U;
}

template <CodeKind Kind>
struct GroupCodes {
    int words[8];

    __device__ __forceinline__ GroupCodes(const WeightSections& w, std::int64_t group) {
        if constexpr (kWholeBytes<Kind>) {
            const int4 low = load16(w.codes + group * 32), high = load16(w.codes + group * 32 + 16);
            words[0] = low.x, words[1] = low.y, words[2] = low.z, words[3] = low.w;
            words[4] = high.x, words[5] = high.y, words[6] = high.z, words[7] = high.w;
        } else if constexpr (kTwoBits<Kind>) {
            const unsigned packed[2] = {wordOf(w.codes, 2 * group), wordOf(w.codes, 2 * group + 1)};
            const unsigned above = Kind == CodeKind::Bits3 ? wordOf(w.high, group) : 0U;
#pragma unroll
            for (int s = 0; s < 8; ++s)
                words[s] = static_cast<int>(twoBits(packed, s) | (above >> s & 0x01010101U) << 2);
        } else {
            constexpr unsigned kLow = 0x0f0f0f0fU;
            const int4 nibbles = load16(w.codes + group * 16);
            const unsigned packed[4] = {
                static_cast<unsigned>(nibbles.x), static_cast<unsigned>(nibbles.y),
                static_cast<unsigned>(nibbles.z), static_cast<unsigned>(nibbles.w)};
            unsigned above[2] = {0, 0};
            if constexpr (kOneAbove<Kind>)
                above[0] = wordOf(w.high, group);
            if constexpr (kTwoAbove<Kind>) {
                above[0] = wordOf(w.high, 2 * group);
                above[1] = wordOf(w.high, 2 * group + 1);
            }
#pragma unroll
            for (int s = 0; s < 8; ++s) {
                unsigned word = packed[s / 2] >> (4 * (s % 2)) & kLow;
                if constexpr (kOneAbove<Kind>)
                    word |= (above[0] >> s & 0x01010101U) << 4;
                if constexpr (kTwoAbove<Kind>)
                    word |= twoBits(above, s) << 4;
                words[s] = static_cast<int>(word);
            }
        }
    }
};

/// Eight values of a group, 8 piece .. 8 piece + 7: what one lane reads where neighbouring lanes
/// read neighbouring values.
template <CodeKind Kind>
struct PieceCodes {
    unsigned words[2];

    __device__ __forceinline__ PieceCodes(const WeightSections& w, std::int64_t group, int piece) {
        if constexpr (kWholeBytes<Kind>) {
            words[0] = wordOf(w.codes, 8 * group + 2 * piece);
            words[1] = wordOf(w.codes, 8 * group + 2 * piece + 1);
        } else if constexpr (kTwoBits<Kind>) {
            const unsigned packed = wordOf(w.codes, 2 * group + piece / 2);
            const unsigned above = Kind == CodeKind::Bits3 ? wordOf(w.high, group) : 0U;
#pragma unroll
            for (int s = 0; s < 2; ++s)
                words[s] = (packed >> (4 * (piece % 2) + 2 * s) & 0x03030303U) |
                           (above >> (2 * piece + s) & 0x01010101U) << 2;
        } else {
            const unsigned packed = wordOf(w.codes, 4 * group + piece);
            const unsigned above = kTwoAbove<Kind> ? wordOf(w.high, 2 * group + piece / 2) : 0U;
#pragma unroll
            for (int s = 0; s < 2; ++s)
                words[s] = (packed >> (4 * s) & 0x0f0f0f0fU) |
                           (above >> (4 * (piece % 2) + 2 * s) & 0x03030303U) << 4;
        }
    }
    /// The code of value 8 piece + i, with its sign where it is an int8.
    __device__ __forceinline__ int code(int i) const {
        const unsigned shifted = words[i / 4] >> (8 * (i % 4));
        return Kind == CodeKind::Bits8 ? static_cast<int>(static_cast<std::int8_t>(shifted & 0xffU))
                                       : static_cast<int>(shifted & 0xffU);
    }
};

/// The value of E2M1 or E2M3: its bits are those of a float16 2^14 times smaller.
template <int Mantissa>
__device__ __forceinline__ float fromE2(int code) {
    const unsigned bits = static_cast<unsigned>(code), sign = 1U << (2 + Mantissa);
    return 16384.0F * fromHalf(static_cast<std::uint16_t>((bits & sign ? 0x8000U : 0U) |
                                                          (bits & (sign - 1)) << (10 - Mantissa)));
}

/// What a code stands for before its scale; `zero` is the code of 0 of integers.
template <CodeKind Kind>
__device__ __forceinline__ float codeValue(int code, int zero) {
    if constexpr (Kind == CodeKind::E4M3)
        return fromE4m3(code);
    else if constexpr (Kind == CodeKind::E2M1)
        return fromE2<1>(code);
    else if constexpr (Kind == CodeKind::E2M3)
        return fromE2<3>(code);
    else if constexpr (Kind == CodeKind::Nf4)
        return kNf4Values[code];
    else
        return static_cast<float>(code - zero);
}

/// Integer sums over the halves of a group: of products with the activations' codes, and of these.
struct GroupSums {
    int low, high, codesLow, codesHigh;
};

/// w = scale * (code - zero) - min of a value in the first or second half of the group.
template <ScaleKind Kind>
struct GroupScale {
    float scale[2] = {0, 0}, min = 0;
    int sub[2] = {1, 1}, zero = 0;

    __device__ __forceinline__ GroupScale(const WeightSections& w, std::int64_t row,
                                          std::int64_t g) {
        const std::int64_t group = row * w.groups + g;
        zero = w.zero;
        if constexpr (Kind == ScaleKind::F16Min) {
            const auto* at = reinterpret_cast<const std::uint16_t*>(w.scales) + 2 * group;
            scale[0] = fromHalf(at[0]);
            min = -fromHalf(at[1]);
        } else if constexpr (Kind == ScaleKind::SubMin) {
            const auto* at = reinterpret_cast<const std::uint16_t*>(w.scales) + group / 8 * 2;
            scale[0] = fromHalf(at[0]) * static_cast<float>(w.sub[2 * group]);
            min = fromHalf(at[1]) * static_cast<float>(w.sub[2 * group + 1]);
        } else if constexpr (Kind == ScaleKind::Sub16) {
            scale[0] = fromHalf(reinterpret_cast<const std::uint16_t*>(w.scales)[group / 8]);
            sub[0] = static_cast<std::int8_t>(w.sub[2 * group]);
            sub[1] = static_cast<std::int8_t>(w.sub[2 * group + 1]);
        } else {
            const std::int64_t block =
                w.groupsPerScale == 1 ? group
                                      : row * (w.groups / w.groupsPerScale) + g / w.groupsPerScale;
            if constexpr (Kind == ScaleKind::Each) {
                readEach(w, row, group, block);
            } else if constexpr (Kind == ScaleKind::F32) {
                scale[0] = reinterpret_cast<const float*>(w.scales)[block];
            } else {
                const std::uint16_t bits = reinterpret_cast<const std::uint16_t*>(w.scales)[block];
                scale[0] = Kind == ScaleKind::F16 ? fromHalf(bits)
                                                  : bitsToFloat(static_cast<unsigned>(bits) << 16);
            }
            if (w.sub)
                zero = w.sub[block];
        }
    }

    /// The same branch in all lanes.
    __device__ __forceinline__ void readEach(const WeightSections& w, std::int64_t row,
                                             std::int64_t group, std::int64_t block) {
        const auto* bytes = reinterpret_cast<const std::uint8_t*>(w.scales);
        const auto* halves = reinterpret_cast<const std::uint16_t*>(w.scales);
        const auto* floats = reinterpret_cast<const float*>(w.scales);
        switch (static_cast<ScaleKind>(w.scaleKind)) {
            case ScaleKind::Row:
                scale[0] = floats[row];
                break;
            case ScaleKind::F32:
                scale[0] = floats[block];
                break;
            case ScaleKind::F16:
                scale[0] = fromHalf(halves[block]);
                break;
            case ScaleKind::BF16:
                scale[0] = bitsToFloat(static_cast<unsigned>(halves[block]) << 16);
                break;
            case ScaleKind::E4M3:
                scale[0] = fromE4m3(bytes[2 * group]) / w.global;
                scale[1] = fromE4m3(bytes[2 * group + 1]) / w.global;
                return;
            default: {
                const unsigned power = bytes[group];
                scale[0] = power == 255 ? NAN : bitsToFloat(power == 0 ? 1U << 22 : power << 23);
            }
        }
        scale[1] = scale[0];
    }

    /// Of a product whose activations have the scale `x`.
    __device__ __forceinline__ float apply(const GroupSums& s, float x) const {
        if constexpr (Kind == ScaleKind::Sub16)
            return static_cast<float>(sub[0] * (s.low - zero * s.codesLow) +
                                      sub[1] * (s.high - zero * s.codesHigh)) *
                   (scale[0] * x);
        const int codes = s.codesLow + s.codesHigh;
        const float product = static_cast<float>(s.low + s.high - zero * codes) * (scale[0] * x);
        if constexpr (Kind == ScaleKind::F16Min || Kind == ScaleKind::SubMin)
            return product - static_cast<float>(codes) * (min * x);
        return product;
    }

    /// Code `code` of half `half` as a number.
    template <CodeKind Codes>
    __device__ __forceinline__ float value(int code, int half) const {
        if constexpr (Kind == ScaleKind::Each)
            return scale[half] * codeValue<Codes>(code, zero);
        if constexpr (Kind == ScaleKind::Sub16)
            return scale[0] * static_cast<float>(sub[half]) * static_cast<float>(code - zero);
        return scale[0] * static_cast<float>(code - zero) - min;
    }
};

/// Calls body with the code and scale kinds of a layout as types; kInvalidValue for others.
template <CodeKind C, ScaleKind S>
struct GroupKinds {
    static constexpr CodeKind kCodes = C;
    static constexpr ScaleKind kScales = S;
};
/// Those whose scales are Each: all widened ones, and integers below four bits.
template <class Body>
Status withNarrowCodes(CodeKind codes, Body body) {
    using C = CodeKind;
    constexpr ScaleKind kEach = ScaleKind::Each;
    switch (codes) {
        case C::Bits2:
            return body(GroupKinds<C::Bits2, kEach>{});
        case C::Bits3:
            return body(GroupKinds<C::Bits3, kEach>{});
        case C::Bits4:
            return body(GroupKinds<C::Bits4, kEach>{});
        case C::Bits8:
            return body(GroupKinds<C::Bits8, kEach>{});
        case C::E4M3:
            return body(GroupKinds<C::E4M3, kEach>{});
        case C::E2M1:
            return body(GroupKinds<C::E2M1, kEach>{});
        case C::E2M3:
            return body(GroupKinds<C::E2M3, kEach>{});
        case C::Nf4:
            return body(GroupKinds<C::Nf4, kEach>{});
        default:
            return kInvalidValue;
    }
}
/// Integers that are multiplied as such.
template <class Body>
Status withIntegers(const WeightLayout& layout, Body body) {
    using C = CodeKind;
    using S = ScaleKind;
    if (layout.widened)
        return kInvalidValue;
    if (layout.codes == C::Bits2)
        return body(GroupKinds<C::Bits2, S::Each>{});
    if (layout.codes == C::Bits3)
        return body(GroupKinds<C::Bits3, S::Each>{});
    const auto is = [&](C codes, S scales) {
        return layout.codes == codes && layout.scales == scales;
    };
    if (is(C::Bits4, S::F16))
        return body(GroupKinds<C::Bits4, S::F16>{});
    if (is(C::Bits4, S::BF16))
        return body(GroupKinds<C::Bits4, S::BF16>{});
    if (is(C::Bits4, S::F32))
        return body(GroupKinds<C::Bits4, S::F32>{});
    if (is(C::Bits4, S::F16Min))
        return body(GroupKinds<C::Bits4, S::F16Min>{});
    if (is(C::Bits4, S::SubMin))
        return body(GroupKinds<C::Bits4, S::SubMin>{});
    if (is(C::Bits4, S::Sub16))
        return body(GroupKinds<C::Bits4, S::Sub16>{});
    if (is(C::Bits5, S::F16))
        return body(GroupKinds<C::Bits5, S::F16>{});
    if (is(C::Bits5, S::F16Min))
        return body(GroupKinds<C::Bits5, S::F16Min>{});
    if (is(C::Bits5, S::SubMin))
        return body(GroupKinds<C::Bits5, S::SubMin>{});
    if (is(C::Bits6, S::Sub16))
        return body(GroupKinds<C::Bits6, S::Sub16>{});
    if (is(C::Bits8, S::F16))
        return body(GroupKinds<C::Bits8, S::F16>{});
    return kInvalidValue;
}
template <class Body>
Status withKinds(const WeightLayout& layout, Body body) {
    return layout.widened ? withNarrowCodes(layout.codes, body) : withIntegers(layout, body);
}

}  // namespace fettle::kernels::cuda
