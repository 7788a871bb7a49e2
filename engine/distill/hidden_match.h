// Which layers of a student follow which of a teacher, and where the projections between different
// widths start.
#pragma once

#include <vector>

#include "engine/train/network.h"

namespace fettle {

/// Layers spread evenly: layer i of n follows layer round((i + 1) N / n) - 1 of N; at most `most`
/// pairs, the last layers among them.
std::vector<Network::LayerPair> evenPairs(std::int64_t studentLayers, std::int64_t teacherLayers,
                                          std::int64_t most);

/// Sets the projections of `student`, which matchHidden() made, to the least squares between hidden
/// states on `batches`.
void fitProjections(Network& student, Network& teacher,
                    const std::vector<Network::LayerPair>& pairs,
                    const std::vector<TrainBatch>& batches, kernels::WorkerPool& pool,
                    RunControl& control);

}  // namespace fettle
