// What LDTILECFG, TILELOADD, TDPBSUD, TDPBF16PS and TILESTORED do, after Intel's manual. For one
// file each: the state is its own.
#pragma once

#include "kernels/cpu/amx/tile_config.h"

namespace fettle::kernels {
namespace FETTLE_SIMD {
namespace {

struct State {
    TileConfig config = {};
    bool configured = false;
    std::uint8_t data[8][16][64] = {};
    long products = 0;
    const char* fault = nullptr;
};
// Made at compile time: nothing of this file may run where the processor lacks its instructions.
constinit State state;

/// The processor would raise #UD.
bool usable(int t) {
    if (!state.configured)
        state.fault = "a tile is used without a configuration";
    else if (state.config.rows[t] == 0 || state.config.columnBytes[t] == 0)
        state.fault = "a tile without a shape is used";
    return state.fault == nullptr;
}

struct EmulatedTiles {
    static void configure(const TileConfig& c) {
        state.config = c;
        state.configured = true;
        if (c.palette != 1 || c.startRow != 0)
            state.fault = "the tile configuration is not of palette 1";
        for (int t = 0; t < 16; ++t)
            if (c.rows[t] > 16 || c.columnBytes[t] > 64 || (t >= 8 && c.rows[t] != 0))
                state.fault = "a tile is configured larger than it is";
        __builtin_memset(state.data, 0, sizeof(state.data));
    }
    static void release() { state.configured = false; }
    template <int T>
    static void zero() {
        if (usable(T))
            __builtin_memset(state.data[T], 0, sizeof(state.data[T]));
    }
    template <int T>
    static void load(const void* p, std::int64_t stride) {
        if (!usable(T))
            return;
        __builtin_memset(state.data[T], 0, sizeof(state.data[T]));
        for (int r = 0; r < state.config.rows[T]; ++r)
            __builtin_memcpy(state.data[T][r], static_cast<const char*>(p) + r * stride,
                             state.config.columnBytes[T]);
    }
    template <int T>
    static void store(void* p, std::int64_t stride) {
        if (!usable(T))
            return;
        for (int r = 0; r < state.config.rows[T]; ++r)
            __builtin_memcpy(static_cast<char*>(p) + r * stride, state.data[T][r],
                             state.config.columnBytes[T]);
    }
    template <int Sums, int A, int B>
    static void multiply() {
        if (!fit<Sums, A, B>())
            return;
        const TileConfig& c = state.config;
        for (int m = 0; m < c.rows[Sums]; ++m)
            for (int n = 0; n < c.columnBytes[Sums] / 4; ++n) {
                std::int32_t sum;
                __builtin_memcpy(&sum, state.data[Sums][m] + 4 * n, 4);
                for (int k = 0; k < c.columnBytes[A]; ++k)
                    sum += static_cast<std::int8_t>(state.data[A][m][k]) *
                           state.data[B][k / 4][4 * n + k % 4];
                __builtin_memcpy(state.data[Sums][m] + 4 * n, &sum, 4);
            }
    }
    /// Even and odd steps have sums of their own, which start from zero.
    template <int Sums, int A, int B>
    static void multiplyBf16() {
        if (!fit<Sums, A, B>())
            return;
        const TileConfig& c = state.config;
        const auto value = [](const std::uint8_t* p) {
            std::uint32_t bits = 0;
            __builtin_memcpy(reinterpret_cast<char*>(&bits) + 2, p, 2);
            float x;
            __builtin_memcpy(&x, &bits, 4);
            return x;
        };
        for (int m = 0; m < c.rows[Sums]; ++m)
            for (int n = 0; n < c.columnBytes[Sums] / 4; ++n) {
                float parts[2] = {0, 0}, sum;
                for (int k = 0; k < c.columnBytes[A] / 4; ++k)
                    for (int odd = 0; odd < 2; ++odd)
                        parts[odd] =
                            __builtin_fmaf(value(state.data[A][m] + 4 * k + 2 * odd),
                                           value(state.data[B][k] + 4 * n + 2 * odd), parts[odd]);
                __builtin_memcpy(&sum, state.data[Sums][m] + 4 * n, 4);
                sum += parts[0] + parts[1];
                __builtin_memcpy(state.data[Sums][m] + 4 * n, &sum, 4);
            }
    }

private:
    template <int Sums, int A, int B>
    static bool fit() {
        if (!usable(Sums) || !usable(A) || !usable(B))
            return false;
        const TileConfig& c = state.config;
        if (c.rows[A] != c.rows[Sums] || c.columnBytes[B] != c.columnBytes[Sums] ||
            c.columnBytes[A] != 4 * c.rows[B]) {
            state.fault = "tiles of shapes that do not fit are multiplied";
            return false;
        }
        ++state.products;
        return true;
    }
};

}  // namespace
}  // namespace FETTLE_SIMD
}  // namespace fettle::kernels
