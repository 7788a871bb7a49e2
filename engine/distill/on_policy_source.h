// Training batches of which a share is written by the student itself: it learns on the texts that
// it will be in. Agarwal et al. 2024 (GKD).
#pragma once

#include "engine/backend/backend.h"
#include "engine/data/batch_source.h"
#include "engine/model/model.h"
#include "engine/train/network.h"

namespace fettle {

class OnPolicySource : public BatchSource {
public:
    /// Of the batches of `inner`, `share` have each sequence cut after its first `promptShare` and
    /// continued by `student` at temperature 1, as it is at that moment; the continuation alone is
    /// scored. Which ones depends on `seed` and the position alone. All references must outlive
    /// this. `like` is what toModel() takes.
    struct Options {
        double share = 0.5;
        double promptShare = 0.25;
        std::uint64_t seed = 1;
    };
    OnPolicySource(BatchSource& inner, const Network& student, const Model& like, Backend& backend,
                   Options options, RunControl& control);

    TrainBatch next() override;
    const std::vector<TrainBatch>& validation() const override { return m_inner.validation(); }
    std::int64_t batchTokens() const override { return m_inner.batchTokens(); }
    DataPosition position() const override { return m_inner.position(); }
    void seek(const DataPosition& position) override { m_inner.seek(position); }
    std::string fingerprint() const override;

    std::int64_t writtenTokens() const { return m_written; }

private:
    BatchSource& m_inner;
    const Network& m_student;
    const Model& m_like;
    Backend& m_backend;
    Options m_options;
    RunControl& m_control;
    std::int64_t m_written = 0;
};

}  // namespace fettle
