// Where speculative decoding meets chance. Every decision names its purpose and place, so that a
// draw made for one can never serve another: drafting, accepting and replacing are independent, and
// a run repeats exactly for a seed.
#pragma once

#include <cstdint>

#include "engine/core/random.h"
#include "engine/decode/token_distribution.h"

namespace fettle {

enum class Purpose : std::uint64_t { Draft = 1, Accept, Replace };

/// `position` is that of the token decided on, counted from the start of the sequence; `branch`
/// tells several decisions at one position apart.
struct Decision {
    Purpose purpose = Purpose::Draft;
    std::int64_t position = 0;
    int branch = 0;
};

class Chance {
public:
    virtual ~Chance() = default;
    /// True with `probability`.
    virtual bool happens(double probability, const Decision& decision) = 0;
    virtual std::int32_t draw(const TokenDistribution& from, const Decision& decision) = 0;
};

/// Counter-based: the outcome depends on seed and decision only.
class PhiloxChance : public Chance {
public:
    explicit PhiloxChance(std::uint64_t seed) : m_seed(seed) {}
    bool happens(double probability, const Decision& decision) override {
        return uniform(decision) < probability;
    }
    std::int32_t draw(const TokenDistribution& from, const Decision& decision) override {
        return from.at(uniform(decision));
    }
    /// What both of these decide by, in [0, 1).
    double uniform(const Decision& decision) const {
        return Philox(m_seed, static_cast<std::uint64_t>(decision.purpose))
            .uniformAt(static_cast<std::uint64_t>(decision.position) * kBranches +
                       static_cast<std::uint64_t>(decision.branch));
    }

private:
    static constexpr std::uint64_t kBranches = 1024;
    std::uint64_t m_seed;
};

}  // namespace fettle
