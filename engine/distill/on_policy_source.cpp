#include "engine/distill/on_policy_source.h"

#include <algorithm>

#include "engine/core/random.h"
#include "engine/decode/token_distribution.h"
#include "engine/model/transformer.h"

namespace fettle {

namespace {

/// A stream of random numbers of its own for every position.
std::uint64_t streamOf(const DataPosition& p) {
    constexpr std::uint64_t kOdd = 0x9E3779B97F4A7C15ULL;
    std::uint64_t mixed = 0;
    for (const std::int64_t part : {p.epoch, p.group, p.window})
        mixed = (mixed ^ static_cast<std::uint64_t>(part)) * kOdd + (mixed >> 29U);
    return mixed;
}

}  // namespace

OnPolicySource::OnPolicySource(BatchSource& inner, const Network& student, const Model& like,
                               Backend& backend, Options options, RunControl& control)
    : m_inner(inner),
      m_student(student),
      m_like(like),
      m_backend(backend),
      m_options(options),
      m_control(control) {}

TrainBatch OnPolicySource::next() {
    Philox random(m_options.seed, streamOf(m_inner.position()));
    TrainBatch given = m_inner.next();
    if (random.uniform() >= m_options.share)
        return given;
    const Model model = m_student.toModel(m_like);
    Transformer transformer(model, m_backend);
    SamplingOptions sampling;
    sampling.temperature = 1;
    TrainBatch written;
    for (const kernels::TokenSpan& span : given.sequences) {
        std::vector<std::int32_t> ids(given.ids.begin() + span.first,
                                      given.ids.begin() + span.first + span.count);
        const auto prompt = std::clamp<std::size_t>(
            static_cast<std::size_t>(m_options.promptShare * static_cast<double>(ids.size())), 1,
            ids.size());
        KvCache cache = transformer.makeCache(span.count);
        transformer.forward(std::span(ids).first(prompt), cache, &m_control);
        for (std::size_t i = prompt; i < ids.size(); ++i) {
            m_control.check();
            ids[i] = nextTokens(transformer.lastLogits(), model.config.vocabularySize, sampling)
                         .at(random.uniform());
            transformer.forward(std::span(ids).subspan(i, 1), cache, &m_control);
            ++m_written;
        }
        const std::size_t first = written.targets.size();
        written.add(ids);
        for (std::size_t i = 0; i + 1 < prompt; ++i)
            written.targets[first + i] = -1;
    }
    return written.scored() > 0 ? written : given;
}

std::string OnPolicySource::fingerprint() const {
    return m_inner.fingerprint() + " written " + std::to_string(m_options.share) + " " +
           std::to_string(m_options.promptShare) + " " + std::to_string(m_options.seed);
}

}  // namespace fettle
