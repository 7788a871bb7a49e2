// Keeps the zeros of a pruned model zero while it learns.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/train/trainer.h"

namespace fettle {

class WeightMasks : public TrainHooks {
public:
    /// Remembers the zeros of every linear weight of the decoder layers that has at least
    /// `leastShare` of them: fewer are chance.
    explicit WeightMasks(const Network& network, double leastShare = 0.05);

    bool empty() const { return m_masks.empty(); }
    double share() const;  ///< of zeros in the weights that are held
    void begin(Network& network, std::int64_t step) override;
    void afterStep(Network& network, std::int64_t step) override;

private:
    struct Mask {
        std::int64_t offset = 0;
        std::vector<bool> zero;
    };
    void apply(Network& network) const;
    std::vector<Mask> m_masks;
};

}  // namespace fettle
