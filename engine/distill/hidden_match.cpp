#include "engine/distill/hidden_match.h"

#include <algorithm>
#include <cmath>

#include "engine/core/error.h"
#include "engine/prune/unit_pruner.h"
#include "kernels/ops/gemm.h"

namespace fettle {

namespace {

constexpr double kDamping = 1e-3;

}  // namespace

std::vector<Network::LayerPair> evenPairs(std::int64_t studentLayers, std::int64_t teacherLayers,
                                          std::int64_t most) {
    std::vector<Network::LayerPair> pairs;
    const std::int64_t count = std::min(studentLayers, most);
    for (std::int64_t k = 1; k <= count; ++k) {
        const std::int64_t student = k * studentLayers / count - 1;
        const auto teacher = static_cast<std::int64_t>(
            std::llround(static_cast<double>((student + 1) * teacherLayers) /
                         static_cast<double>(studentLayers)));
        pairs.push_back({student, std::max<std::int64_t>(teacher, 1) - 1});
    }
    return pairs;
}

void fitProjections(Network& student, Network& teacher,
                    const std::vector<Network::LayerPair>& pairs,
                    const std::vector<TrainBatch>& batches, kernels::WorkerPool& pool,
                    RunControl& control) {
    const std::int64_t narrow = student.config().hiddenSize, wide = teacher.config().hiddenSize;
    kernels::GemmScratch scratch;
    for (std::size_t i = 0; i < pairs.size(); ++i) {
        std::vector<float> gram(static_cast<std::size_t>(narrow * narrow), 0.0F),
            cross(static_cast<std::size_t>(wide * narrow), 0.0F);
        for (const TrainBatch& batch : batches) {
            const auto tokens = static_cast<std::int64_t>(batch.ids.size());
            const std::vector<float> x = student.hiddenBehind(batch, pairs[i].student, &control),
                                     y = teacher.hiddenBehind(batch, pairs[i].teacher, &control);
            kernels::gemm({kernels::GemmLayout::TN, narrow, narrow, tokens, x.data(), narrow,
                           x.data(), narrow, gram.data(), narrow, true},
                          scratch, pool);
            kernels::gemm({kernels::GemmLayout::TN, wide, narrow, tokens, y.data(), wide, x.data(),
                           narrow, cross.data(), narrow, true},
                          scratch, pool);
        }
        const std::vector<float> inverse = inverseGram(gram, narrow, kDamping, pool, control);
        if (inverse.empty())
            throw EngineError(ErrorKind::BadInput, "distill: the hidden states of layer " +
                                                       std::to_string(pairs[i].student) +
                                                       " are not finite");
        const TrainParameter& p =
            student.parameter("hidden_projection." + std::to_string(i) + ".weight");
        kernels::gemm({kernels::GemmLayout::NN, wide, narrow, narrow, cross.data(), narrow,
                       inverse.data(), narrow, student.values().data() + p.offset, narrow, false},
                      scratch, pool);
    }
}

}  // namespace fettle
