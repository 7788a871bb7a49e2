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
    void begin(TrainEngine& engine, std::int64_t step) override;

private:
    std::vector<ZeroMask> m_masks;
};

}  // namespace fettle
