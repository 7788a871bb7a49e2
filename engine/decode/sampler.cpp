#include "engine/decode/sampler.h"

#include <algorithm>
#include <cmath>

#include "kernels/ops/elementwise.h"

namespace fettle {

std::int32_t Sampler::sample(const float* logits, std::int64_t vocabulary) {
    if (m_options.temperature <= 0)
        return static_cast<std::int32_t>(kernels::summarizeLogits(logits, vocabulary).argmax);

    m_candidates.clear();
    for (std::int64_t i = 0; i < vocabulary; ++i)
        m_candidates.emplace_back(logits[i], static_cast<std::int32_t>(i));
    const auto likelier = [](const auto& a, const auto& b) {
        return a.first > b.first || (a.first == b.first && a.second < b.second);
    };
    if (m_options.topK > 0 && m_options.topK < vocabulary) {
        std::nth_element(m_candidates.begin(), m_candidates.begin() + m_options.topK,
                         m_candidates.end(), likelier);
        m_candidates.resize(static_cast<std::size_t>(m_options.topK));
    }
    std::sort(m_candidates.begin(), m_candidates.end(), likelier);

    const double highest = m_candidates.front().first;
    double total = 0;
    for (auto& [value, id] : m_candidates) {
        value = static_cast<float>(std::exp((value - highest) / m_options.temperature));
        total += value;
    }
    double kept = 0;
    std::size_t count = 0;
    while (count < m_candidates.size() && (count == 0 || kept < m_options.topP * total))
        kept += m_candidates[count++].first;

    double draw = m_random.uniform() * kept;
    for (std::size_t i = 0; i + 1 < count; ++i) {
        draw -= m_candidates[i].first;
        if (draw < 0)
            return m_candidates[i].second;
    }
    return m_candidates[count - 1].second;
}

}  // namespace fettle
