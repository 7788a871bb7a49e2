// Reading a group of 32 weights in device code: its codes as eight words of four bytes in order,
// and what its scales make of a product.
#pragma once

#include "kernels/cuda/device.cuh"
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
          zero(w.layout.zero) {}
    template <class Check>
    void forEachPointer(Check check) const {
        check(codes);
        check(scales);
        check(sub);
    }
};

template <CodeKind Kind>
struct GroupCodes {
    int words[8];

    __device__ __forceinline__ GroupCodes(const WeightSections& w, std::int64_t group) {
        if constexpr (Kind == CodeKind::Bits8) {
            const int4 low = load16(w.codes + group * 32), high = load16(w.codes + group * 32 + 16);
            words[0] = low.x, words[1] = low.y, words[2] = low.z, words[3] = low.w;
            words[4] = high.x, words[5] = high.y, words[6] = high.z, words[7] = high.w;
        } else {
            constexpr unsigned kLow = 0x0f0f0f0fU;
            const int4 nibbles = load16(w.codes + group * 16);
            const unsigned packed[4] = {
                static_cast<unsigned>(nibbles.x), static_cast<unsigned>(nibbles.y),
                static_cast<unsigned>(nibbles.z), static_cast<unsigned>(nibbles.w)};
            unsigned above[2] = {0, 0};
            if constexpr (Kind == CodeKind::Bits5)
                above[0] = reinterpret_cast<const unsigned*>(w.high)[group];
            if constexpr (Kind == CodeKind::Bits6) {
                above[0] = reinterpret_cast<const unsigned*>(w.high)[2 * group];
                above[1] = reinterpret_cast<const unsigned*>(w.high)[2 * group + 1];
            }
#pragma unroll
            for (int s = 0; s < 8; ++s) {
                unsigned word = packed[s / 2] >> (4 * (s % 2)) & kLow;
                if constexpr (Kind == CodeKind::Bits5)
                    word |= (above[0] >> s & 0x01010101U) << 4;
                if constexpr (Kind == CodeKind::Bits6)
                    word |= (above[s / 4] >> (2 * (s % 4)) & 0x03030303U) << 4;
                words[s] = static_cast<int>(word);
            }
        }
    }
};

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
            if constexpr (Kind == ScaleKind::F32) {
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
    __device__ __forceinline__ float value(int code, int half) const {
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
template <class Body>
Status withKinds(const WeightLayout& layout, Body body) {
    using C = CodeKind;
    using S = ScaleKind;
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

}  // namespace fettle::kernels::cuda
