// A piece of packed integer weights, unpacked into the first-level cache: codes as bytes, scales as
// float. Simd files only.
#pragma once

#include "kernels/cpu/simd/int_scales.h"

namespace fettle::kernels::FETTLE_SIMD {

constexpr std::int64_t kPieceGroups =
    16;  // 512 k: two panels' codes take 16 KiB of the first-level cache

/// How a piece's groups are finished.
enum class Kind { Scale, ScaleMin, ScaleZero, Sub16, Channel };

/// A piece of one panel, unpacked: codes as bytes, scales as float.
struct Piece {
    std::uint8_t codes[kPieceGroups][512];
    float scale[kPieceGroups][16];
    union {
        float min[kPieceGroups][16];
        std::int32_t zero[kPieceGroups][16];
        float sub[kPieceGroups][2][16];
    };
};

template <int Bits>
static void unpackCodes(const std::uint8_t* codes, std::int64_t groups, Piece& piece) {
    for (std::int64_t g = 0; g < groups; ++g, codes += 64 * Bits) {
        FETTLE_UNROLL(8)
        for (int s = 0; s < 8; ++s)
            storeBytes(piece.codes[g] + 64 * s, stepCodes<Bits>(codes, s));
        prefetch(codes + 4096);
        prefetch(codes + 4096 + 64);
        prefetch(codes + 4096 + 128);
        prefetch(codes + 4096 + 192);
    }
}

template <ScaleLayout S>
static void unpackScales(const PackedLayout& l, const std::uint8_t* panel, std::int64_t first,
                         std::int64_t groups, Piece& piece) {
    Scales<S> scales;
    scales.section = panel + l.scaleOffset;
    scales.block(first / l.groupsPerScale);
    for (std::int64_t i = 0; i < groups; ++i) {
        const std::int64_t b = (first + i) / l.groupsPerScale, j = (first + i) % l.groupsPerScale;
        if (j == 0 && i > 0)
            scales.block(b);
        storeF(piece.scale[i], scales.scale(j));
        if constexpr (kHasMin<S>)
            storeF(piece.min[i], scales.min(j));
        if constexpr (S == ScaleLayout::Sub16) {
            storeF(piece.sub[i][0], scales.subScale(j, 0));
            storeF(piece.sub[i][1], scales.subScale(j, 1));
        }
        if (l.zeroPoints)
            storeI(piece.zero[i], loadU8(panel + l.zeroOffset + 16 * b));
    }
}

static inline void unpack(const PackedLayout& l, const std::uint8_t* panel, std::int64_t first,
                          std::int64_t groups, Piece& piece) {
    const std::uint8_t* codes = panel + static_cast<std::size_t>(first) * l.groupBytes;
    switch (l.codeBits) {
        case 4:
            unpackCodes<4>(codes, groups, piece);
            break;
        case 5:
            unpackCodes<5>(codes, groups, piece);
            break;
        case 6:
            unpackCodes<6>(codes, groups, piece);
            break;
        default:
            break;  // bytes are used where they lie
    }
    switch (l.scales) {
        case ScaleLayout::F16:
            return unpackScales<ScaleLayout::F16>(l, panel, first, groups, piece);
        case ScaleLayout::BF16:
            return unpackScales<ScaleLayout::BF16>(l, panel, first, groups, piece);
        case ScaleLayout::F32:
            return unpackScales<ScaleLayout::F32>(l, panel, first, groups, piece);
        case ScaleLayout::F16Min:
            return unpackScales<ScaleLayout::F16Min>(l, panel, first, groups, piece);
        case ScaleLayout::SubMin:
            return unpackScales<ScaleLayout::SubMin>(l, panel, first, groups, piece);
        case ScaleLayout::Sub16:
            return unpackScales<ScaleLayout::Sub16>(l, panel, first, groups, piece);
        default:
            return;
    }
}

}  // namespace fettle::kernels::FETTLE_SIMD
