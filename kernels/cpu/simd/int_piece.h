// What the products of many activation rows share: a piece of packed integer weights, unpacked into
// the first-level cache, and the walk over panels and blocks of rows. Simd files only.
#pragma once

#include "kernels/cpu/simd/int_scales.h"
#include "kernels/cpu/simd/output.h"

namespace fettle::kernels::FETTLE_SIMD {

constexpr std::int64_t kPieceGroups =
    16;  // 512 k: two panels' codes take 16 KiB of the first-level cache

/// How a piece's groups are finished.
enum class Kind { Scale, ScaleMin, ScaleZero, Sub16, Halves, Channel };

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
    for (std::int64_t g = 0; g < groups; ++g, codes += 64 * kWidth<Bits>) {
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
    std::int64_t b = first / l.groupsPerScale, j = first % l.groupsPerScale;
    scales.block(b);
    for (std::int64_t i = 0; i < groups; ++i, ++j) {
        if (j == l.groupsPerScale) {
            j = 0;
            scales.block(++b);
        }
        if constexpr (S != ScaleLayout::E4M3Halves)
            storeF(piece.scale[i], scales.scale(j));
        if constexpr (kHasMin<S>)
            storeF(piece.min[i], scales.min(j));
        if constexpr (S == ScaleLayout::Sub16 || S == ScaleLayout::E4M3Halves) {
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
    switch (l.e2m1 ? kE2m1 : l.codeBits) {
        case kE2m1:
            unpackCodes<kE2m1>(codes, groups, piece);
            break;
        case 2:
            unpackCodes<2>(codes, groups, piece);
            break;
        case 3:
            unpackCodes<3>(codes, groups, piece);
            break;
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
        case ScaleLayout::E8M0:
            return unpackScales<ScaleLayout::E8M0>(l, panel, first, groups, piece);
        case ScaleLayout::E4M3Halves:
            return unpackScales<ScaleLayout::E4M3Halves>(l, panel, first, groups, piece);
        default:
            return;
    }
}

/// What the partial results of rows [firstRow, firstRow + count) start from; int32 for Channel.
template <Kind K, int Panels>
static void startResults(const MatmulArgs& a, std::int64_t firstRow, std::int64_t count,
                         float (*results)[Panels][16]) {
    for (std::int64_t i = 0; i < count; ++i)
        for (int p = 0; p < Panels; ++p) {
            if constexpr (K == Kind::Channel)
                storeI(results[i][p], kSignedBytes ? zeroI() : setI(a.ints.starts[firstRow + i]));
            else
                storeF(results[i][p], zeroF());
        }
}

/// Lets `block(panels, firstRow, count)` compute into `results` the partial results of at most
/// `blockRows` rows of some neighbouring panels (behind the last one, copies of it), finishes them
/// and writes them out; all rows, panels [begin, end).
template <Kind K, int Panels, class Block>
static void eachBlock(const MatmulArgs& a, std::int64_t begin, std::int64_t end,
                      std::int64_t blockRows, float (*results)[Panels][16], const Block& block) {
    const PackedLayout& l = *a.layout;
    for (std::int64_t panel = begin; panel < end; panel += Panels) {
        const std::uint8_t* panels[Panels];
        for (int p = 0; p < Panels; ++p) {
            const std::int64_t here = panel + p < end ? panel + p : end - 1;
            panels[p] = a.weight + static_cast<std::size_t>(here) * l.panelBytes;
        }
        for (std::int64_t row = 0; row < a.m; row += blockRows) {
            const std::int64_t count = a.m - row < blockRows ? a.m - row : blockRows;
            block(panels, row, count);
            for (std::int64_t i = 0; i < count; ++i)
                for (int p = 0; p < Panels && panel + p < end; ++p) {
                    F32x16 result = loadF(results[i][p]);
                    if constexpr (K == Kind::Halves)
                        result = mul(result, loadF(panels[p] + l.scaleOffset));
                    if constexpr (K == Kind::Channel)
                        result = mul(mul(toF(loadI(results[i][p])), setF(a.ints.scales[row + i])),
                                     loadF(panels[p] + l.scaleOffset));
                    writeOutputs(a, row + i, panel + p, result);
                }
        }
    }
}

}  // namespace fettle::kernels::FETTLE_SIMD
