// Hidden states and attention of a network against a teacher's. Romero et al. 2015 (FitNets), with
// each token's error taken relative to the teacher's state.
#include <algorithm>
#include <cmath>

#include "engine/core/error.h"
#include "engine/train/network.h"

namespace fettle {

namespace {

constexpr std::int64_t kHiddenRowGrain = 64;

std::string projectionName(std::size_t pair) {
    return "hidden_projection." + std::to_string(pair) + ".weight";
}

}  // namespace

void Network::matchHidden(std::vector<LayerPair> pairs, std::int64_t teacherWidth) {
    m_pairs = std::move(pairs);
    m_teacherWidth = teacherWidth;
    for (const LayerPair& pair : m_pairs)
        if (pair.student < 0 || pair.student >= m_config.layerCount())
            throw EngineError(ErrorKind::Usage,
                              "there is no layer " + std::to_string(pair.student) + " to compare");
    if (teacherWidth == m_config.hiddenSize)
        return;
    for (std::size_t i = 0; i < m_pairs.size(); ++i) {
        const std::string name = projectionName(i);
        m_index[name] = m_parameters.size();
        m_parameters.push_back(
            {name, static_cast<Offset>(m_values.size()), teacherWidth, m_config.hiddenSize, false});
        m_values.resize(m_values.size() +
                        static_cast<std::size_t>(teacherWidth * m_config.hiddenSize));
    }
}

std::vector<float> Network::hiddenBehind(const TrainBatch& batch, std::int64_t layer,
                                         RunControl* control) {
    m_taps.clear();
    m_taps[layer];
    forwardLayers(batch, false, control);
    std::vector<float> hidden = std::move(m_taps.at(layer));
    m_taps.clear();
    return hidden;
}

void Network::runTeacher(const TrainBatch& batch, const TrainLoss& loss, Network* teacher,
                         RunControl* control) {
    if (!loss.needsTeacher() || (!loss.needsTeacherStates() && !batch.teacher.empty()))
        return;
    if (!teacher)
        throw EngineError(ErrorKind::Usage, "distillation needs a teacher");
    teacher->m_taps.clear();
    if (loss.hidden != 0) {
        if (m_pairs.empty() || teacher->config().hiddenSize != m_teacherWidth)
            throw EngineError(ErrorKind::Usage,
                              "the hidden states to compare do not fit the teacher");
        for (const LayerPair& pair : m_pairs)
            teacher->m_taps[pair.teacher];
    }
    if (loss.attention != 0)
        requireSameAttention(m_config, teacher->config());
    teacher->forwardLayers(batch, false, control);
}

void Network::requireSameAttention(const ModelConfig& student, const ModelConfig& teacher) {
    if (student.heads != teacher.heads)
        throw EngineError(ErrorKind::Usage,
                          "the teacher has " + std::to_string(teacher.heads) +
                              " attention heads, the model " + std::to_string(student.heads) +
                              ": what they look at cannot be compared; set attention_weight to 0");
    if (student.layers.back().slidingWindow != teacher.layers.back().slidingWindow)
        throw EngineError(ErrorKind::Usage,
                          "the last layers of teacher and model see windows of different length: "
                          "what they look at cannot be compared; set attention_weight to 0");
}

double Network::attentionLoss(const TrainBatch& batch, float weight, Network& teacher, Saved& saved,
                              float* dqkv) {
    const std::size_t last = m_layers.size() - 1;
    // The teacher's forward pass kept nothing: one set of activations served all its layers.
    return kernels::attentionMatch(
        attentionArgs(last, saved),
        teacher.attentionArgs(teacher.m_layers.size() - 1, teacher.m_saved[0]), batch.sequences,
        batch.targets.data(), weight, dqkv, dqkv ? dqkv + m_qSize : nullptr, m_attention, m_pool);
}

double Network::hiddenLoss(std::size_t pair, const TrainBatch& batch, float weight,
                           Network& teacher, const float* x, float* dx) {
    const std::int64_t d = m_config.hiddenSize, wide = m_teacherWidth;
    const float* wanted = teacher.m_taps.at(m_pairs[pair].teacher).data();
    const bool projected = wide != d;
    const Offset projection = projected ? parameter(projectionName(pair)).offset : 0;
    m_hiddenError.resize(static_cast<std::size_t>(m_tokens * wide));
    if (projected)
        multiply({kernels::GemmLayout::NT, m_tokens, wide, d, x, d, this->weight(projection), d,
                  m_hiddenError.data(), wide, false});
    else
        std::copy_n(x, m_tokens * d, m_hiddenError.data());
    const auto pairs = static_cast<float>(m_pairs.size());
    std::vector<double> losses(static_cast<std::size_t>(m_tokens), 0);
    // The error becomes its own gradient.
    m_pool.parallelFor(m_tokens, kHiddenRowGrain, [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t t = begin; t < end; ++t) {
            float* error = m_hiddenError.data() + t * wide;
            if (batch.targets[static_cast<std::size_t>(t)] < 0) {
                std::fill_n(error, wide, 0.0F);
                continue;
            }
            double sum = 0, power = 0;
            for (std::int64_t j = 0; j < wide; ++j) {
                const float goal = wanted[t * wide + j];
                error[j] -= goal;
                sum += static_cast<double>(error[j]) * error[j];
                power += static_cast<double>(goal) * goal;
            }
            power = std::max(power, 1e-20);
            losses[static_cast<std::size_t>(t)] = sum / power / pairs;
            const float factor = static_cast<float>(2 * weight / (power * pairs));
            for (std::int64_t j = 0; j < wide; ++j)
                error[j] *= factor;
        }
    });
    double total = 0;
    for (const double loss : losses)
        total += loss;
    if (!dx)
        return total;
    if (projected) {
        multiply({kernels::GemmLayout::TN, wide, d, m_tokens, m_hiddenError.data(), wide, x, d,
                  grad(projection), d, true});
        multiply({kernels::GemmLayout::NN, m_tokens, d, wide, m_hiddenError.data(), wide,
                  this->weight(projection), d, dx, d, true});
    } else {
        for (std::int64_t i = 0; i < m_tokens * d; ++i)
            dx[i] += m_hiddenError[static_cast<std::size_t>(i)];
    }
    return total;
}

}  // namespace fettle
