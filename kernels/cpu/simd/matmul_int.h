// The two ways to multiply integer weights; both give every output as the same chain of sums, bit
// for bit:
//   f = 0; for each group in K order: f = fma(float(exact int32 sum) * activation scale, weight
//   scale, f)
//          and, with mins: f = fma(activation scale * code sum, min, f)
//          and, where both have scales of 16 k: the halves of a group one after the other
// Simd files only.
#pragma once

#include "kernels/cpu/kernel_table.h"

namespace fettle::kernels::FETTLE_SIMD {

/// Few activation rows: weights stream from memory and are unpacked in registers, once for each
/// tile of rows. Unpacking them for whole blocks of rows pays only beyond some such tiles.
#if defined(__AVX512F__)
constexpr std::int64_t kDirectRows = 24;
#elif defined(__AVX2__)
constexpr std::int64_t kDirectRows = 16;
#else
constexpr std::int64_t kDirectRows = 4;
#endif
void intDirect(const MatmulArgs& args, std::int64_t begin, std::int64_t end);

/// Many activation rows: a piece of the weights is unpacked once into `scratch` (first-level cache)
/// and multiplied by all rows, a register tile at a time.
void intBlocked(const MatmulArgs& args, std::int64_t begin, std::int64_t end, void* scratch);

}  // namespace fettle::kernels::FETTLE_SIMD
