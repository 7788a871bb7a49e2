// Counter-based random numbers: the i-th draw of a stream depends on (seed, stream, i) only, so
// that results do not depend on threads or on how many draws others made. Philox 4x32-10, Salmon et
// al. 2011.
#pragma once

#include <array>
#include <cstdint>

namespace fettle {

class Philox {
public:
    explicit Philox(std::uint64_t seed, std::uint64_t stream = 0)
        : m_seed(seed), m_stream(stream) {}

    /// The draw at `counter`, 32 random bits each.
    std::array<std::uint32_t, 4> at(std::uint64_t counter) const;
    /// The draw at `counter`, uniform in [0, 1) with 53 bits; leaves the stream where it is.
    double uniformAt(std::uint64_t counter) const;
    /// Next value, uniform in [0, 1) with 53 bits.
    double uniform() { return uniformAt(m_counter++); }
    /// Next value, uniform in [0, bound).
    std::uint64_t below(std::uint64_t bound);

private:
    std::uint64_t m_seed;
    std::uint64_t m_stream;
    std::uint64_t m_counter = 0;
};

}  // namespace fettle
