// For devices that play the passes of decoding from a recording (CUDA graphs): who runs a pass says
// where it begins and ends.
#pragma once

#include <cstdint>
#include <utility>

#include "engine/backend/backend.h"

namespace fettle {

class StepPlayer {
public:
    virtual ~StepPlayer() = default;
    /// The ops until endStep() are one pass of `owner` over `tokens` tokens. They may be held back
    /// until then; anything else that is asked of the device sends them off at once.
    virtual void beginStep(const void* owner, std::int64_t tokens) = 0;
    virtual void endStep() = 0;
    /// The pass was cancelled: what is held back is dropped.
    virtual void dropStep() noexcept = 0;
};

/// One pass on a backend, which need not be a player. Dropped unless finish() is called.
class StepScope {
public:
    StepScope(Backend& backend, const void* owner, std::int64_t tokens)
        : m_player(dynamic_cast<StepPlayer*>(&backend)) {
        if (m_player)
            m_player->beginStep(owner, tokens);
    }
    ~StepScope() {
        if (m_player)
            m_player->dropStep();
    }
    StepScope(const StepScope&) = delete;
    StepScope& operator=(const StepScope&) = delete;
    void finish() {
        if (StepPlayer* const player = std::exchange(m_player, nullptr))
            player->endStep();
    }

private:
    StepPlayer* m_player;
};

}  // namespace fettle
