// Tensor-core instructions and asynchronous copies on the emulator, with the layouts and the order
// of memory that the PTX manual gives them. kernels/cuda/tensor_core.cuh includes this.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/formats/weight_format.h"
#include "tests/simt/emulator/simt_device.h"

namespace fettle::simt {

/// 16 bytes of shared memory, which must be aligned.
inline std::byte* accessShared16(const SharedPointer<std::uint16_t>& at, bool write) {
    if (at.offset() % 16 != 0)
        report(Defect::Misaligned, "16 bytes of shared memory are off their multiples");
    return accessShared(at.memory(), at.offset(), 16, write);
}

struct MatrixLane {
    std::uint16_t row[8];
    unsigned* words;
};

/// Every lane reads the row it names; then register j of lane l is row l / 4, elements l % 4 * 2
/// and the next of matrix j (transposed: column l / 4, rows l % 4 * 2 and the next).
inline void loadMatrices(unsigned (&words)[4], const SharedPointer<std::uint16_t>& row,
                         bool transposed,
                         const std::source_location& at = std::source_location::current()) {
    MatrixLane lane = {{}, words};
    std::memcpy(lane.row, accessShared16(row, false), sizeof lane.row);
    const auto share = [](void* const* lanes, bool trans) {
        for (int l = 0; l < 32; ++l)
            for (int j = 0; j < 4; ++j) {
                const auto element = [&](int r, int c) -> unsigned {
                    return static_cast<const MatrixLane*>(lanes[8 * j + r])->row[c];
                };
                const int a = l / 4, b = l % 4 * 2;
                static_cast<MatrixLane*>(lanes[l])->words[j] =
                    trans ? element(b, a) | element(b + 1, a) << 16
                          : element(a, b) | element(a, b + 1) << 16;
            }
    };
    warpCompute(
        &lane,
        transposed ? [](void* const* lanes) { decltype(share){}(lanes, true); }
                   : [](void* const* lanes) { decltype(share){}(lanes, false); },
        at);
}

struct TileLane {
    float* c;
    const unsigned *a, *b;
};

/// mma.m16n8k16, float16 factors, float32 sums in the order of k.
inline void multiplyTiles(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                          const std::source_location& at = std::source_location::current()) {
    TileLane lane = {c, a, b};
    warpCompute(
        &lane,
        [](void* const* lanes) {
            count(&Counters::mma);
            float left[16][16], right[16][8];
            const auto half = [](unsigned word, int which) {
                return kernels::halfToFloat(static_cast<std::uint16_t>(word >> (16 * which)));
            };
            for (int l = 0; l < 32; ++l) {
                const auto* t = static_cast<const TileLane*>(lanes[l]);
                const int group = l / 4, pair = l % 4 * 2;
                for (int e = 0; e < 2; ++e) {
                    left[group][pair + e] = half(t->a[0], e);
                    left[group + 8][pair + e] = half(t->a[1], e);
                    left[group][pair + 8 + e] = half(t->a[2], e);
                    left[group + 8][pair + 8 + e] = half(t->a[3], e);
                    right[pair + e][group] = half(t->b[0], e);
                    right[pair + 8 + e][group] = half(t->b[1], e);
                }
            }
            for (int l = 0; l < 32; ++l) {
                const auto* t = static_cast<const TileLane*>(lanes[l]);
                for (int i = 0; i < 4; ++i) {
                    const int row = l / 4 + i / 2 * 8, column = l % 4 * 2 + i % 2;
                    float sum = t->c[i];
                    for (int k = 0; k < 16; ++k)
                        sum += left[row][k] * right[k][column];
                    t->c[i] = sum;
                }
            }
        },
        at);
}

}  // namespace fettle::simt
