#include "engine/core/random.h"

namespace fettle {

namespace {
constexpr std::uint32_t kMultiplier0 = 0xD2511F53u;
constexpr std::uint32_t kMultiplier1 = 0xCD9E8D57u;
constexpr std::uint32_t kWeyl0 = 0x9E3779B9u;
constexpr std::uint32_t kWeyl1 = 0xBB67AE85u;
constexpr int kRounds = 10;
}  // namespace

std::array<std::uint32_t, 4> Philox::at(std::uint64_t counter) const {
    std::array<std::uint32_t, 4> c{
        static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32),
        static_cast<std::uint32_t>(m_stream), static_cast<std::uint32_t>(m_stream >> 32)};
    std::uint32_t k0 = static_cast<std::uint32_t>(m_seed),
                  k1 = static_cast<std::uint32_t>(m_seed >> 32);
    for (int round = 0; round < kRounds; ++round) {
        const std::uint64_t p0 = static_cast<std::uint64_t>(kMultiplier0) * c[0];
        const std::uint64_t p1 = static_cast<std::uint64_t>(kMultiplier1) * c[2];
        c = {static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<std::uint32_t>(p1),
             static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<std::uint32_t>(p0)};
        k0 += kWeyl0;
        k1 += kWeyl1;
    }
    return c;
}

double Philox::uniformAt(std::uint64_t counter) const {
    const auto words = at(counter);
    const std::uint64_t bits = (static_cast<std::uint64_t>(words[0]) << 32 | words[1]) >> 11;
    return static_cast<double>(bits) * 0x1.0p-53;
}

std::uint64_t Philox::below(std::uint64_t bound) {
    const auto words = at(m_counter++);
    const std::uint64_t bits = static_cast<std::uint64_t>(words[0]) << 32 | words[1];
    return bits % bound;
}

}  // namespace fettle
