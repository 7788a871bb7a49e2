// What a network holds, copied for comparing.
#pragma once

#include <vector>

#include "engine/train/network.h"

namespace fettle::test {

inline std::vector<float> gradsOf(Network& network) {
    const std::span<const float> grads = network.grads();
    return {grads.begin(), grads.end()};
}

}  // namespace fettle::test
