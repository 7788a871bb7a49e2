#include "engine/data/train_batch.h"

#include <algorithm>

namespace fettle {

std::int64_t TrainBatch::scored() const {
    return std::count_if(targets.begin(), targets.end(), [](std::int32_t t) { return t >= 0; });
}

void TrainBatch::add(std::span<const std::int32_t> sequence) {
    if (sequence.empty())
        return;
    sequences.push_back(
        {static_cast<std::int64_t>(ids.size()), static_cast<std::int64_t>(sequence.size())});
    ids.insert(ids.end(), sequence.begin(), sequence.end());
    targets.insert(targets.end(), sequence.begin() + 1, sequence.end());
    targets.push_back(-1);
}

}  // namespace fettle
