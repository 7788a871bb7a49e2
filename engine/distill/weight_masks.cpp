#include "engine/distill/weight_masks.h"

#include <algorithm>

namespace fettle {

WeightMasks::WeightMasks(const Network& network, double leastShare) {
    for (const std::string& name : linearWeightNames(network.config())) {
        if (layerOf(name) < 0)
            continue;
        const TrainParameter& p = network.parameter(name);
        const auto begin = network.values().begin() + p.offset, end = begin + p.count();
        const auto zeros = std::count(begin, end, 0.0F);
        if (static_cast<double>(zeros) < leastShare * static_cast<double>(p.count()))
            continue;
        ZeroMask mask{p.offset, std::vector<bool>(static_cast<std::size_t>(p.count()))};
        std::transform(begin, end, mask.zero.begin(), [](float w) { return w == 0; });
        m_masks.push_back(std::move(mask));
    }
}

double WeightMasks::share() const {
    double zeros = 0, all = 0;
    for (const ZeroMask& mask : m_masks) {
        zeros += static_cast<double>(std::count(mask.zero.begin(), mask.zero.end(), true));
        all += static_cast<double>(mask.zero.size());
    }
    return all > 0 ? zeros / all : 0;
}

void WeightMasks::begin(TrainEngine& engine, std::int64_t /*step*/) {
    engine.keepZeros(m_masks);
}

}  // namespace fettle
