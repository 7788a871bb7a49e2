// Sixteen rows of a weight side by side, as GPTQ and what refines it work on them: the sums over
// columns that both spend their time on.
#pragma once

#include <array>
#include <cstdint>

namespace fettle {

constexpr std::int64_t kLanes = 16;  ///< rows that go through a block of columns together
using Lanes = std::array<float, kLanes>;

/// to[i] += by * factors[i], `count` of them.
void addMultiples(Lanes* to, const Lanes& by, const float* factors, std::int64_t count);
/// to += from[i] * factors[i], in the order of i.
void addWeighted(Lanes& to, const Lanes* from, const float* factors, std::int64_t count);

}  // namespace fettle
