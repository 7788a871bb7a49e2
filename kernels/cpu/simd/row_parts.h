// How direct kernels go through panels and activation rows. Simd files only.
#pragma once

#include "kernels/cpu/simd/vec16.h"

namespace fettle::kernels::FETTLE_SIMD {

/// body.operator()<count>(), for a count of 1 to Most.
template <int Most, class Body>
FETTLE_INLINE void withRows(std::int64_t count, const Body& body) {
    if constexpr (Most > 1) {
        if (count < Most)
            return withRows<Most - 1>(count, body);
    }
    body.template operator()<Most>();
}

/// body.operator()<M>(row) for m rows, in as few and as even parts of at most Most rows as there
/// must be: rows [row, row + M).
template <int Most, class Body>
FETTLE_INLINE void eachEvenPart(std::int64_t m, const Body& body) {
    const std::int64_t parts = (m + Most - 1) / Most;
    for (std::int64_t part = 0, row = 0; part < parts; ++part) {
        const std::int64_t count = (m - row + parts - part - 1) / (parts - part);
        withRows<Most>(count, [&]<int M>() { body.template operator()<M>(row); });
        row += count;
    }
}

/// All m rows times panels [begin, end), in as few and as even parts of at most Most rows as there
/// must be; four panels after the other, which the later parts find in the cache.
/// body.operator()<M>(first panel, last panel, row): rows [row, row + M).
template <int Most, class Body>
FETTLE_INLINE void inEvenParts(std::int64_t m, std::int64_t begin, std::int64_t end,
                               const Body& body) {
    const std::int64_t step = m > Most ? 4 : end - begin;
    for (std::int64_t panel = begin; panel < end; panel += step) {
        const std::int64_t last = panel + step < end ? panel + step : end;
        eachEvenPart<Most>(
            m, [&]<int M>(std::int64_t row) { body.template operator()<M>(panel, last, row); });
    }
}

}  // namespace fettle::kernels::FETTLE_SIMD
