// How many tokens to draft: as many as pay, from what drafting, verifying and acceptance were
// measured to be. With acceptance a, draft cost c and verification cost v in units of one plain
// step, g drafted tokens give (1 - a^(g+1)) / ((1 - a)(g c + v(g+1))) tokens in the time of one
// (Leviathan et al. 2023, theorem 3.8, with a v that grows). Looks only at drafts and the past, so
// the text does not depend on it.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "engine/experiment/draft_values.h"
#include "engine/model/speculative_setup.h"
#include "engine/speculative/acceptance.h"
#include "engine/speculative/draft.h"

namespace fettle {

/// Levels of a draft; a tree may have up to kMostTreeNodes tokens in them.
constexpr int kMostDrafted = 16;

/// What one round took and gave.
struct RoundOutcome {
    const Draft* draft = nullptr;
    const Verdict* verdict = nullptr;  ///< null: a plain step
    double draftSeconds = 0;
    double verifySeconds = 0;
};

class DraftLength {
public:
    virtual ~DraftLength() = default;
    /// Another text begins: what was learned of costs and acceptance stays.
    virtual void restart() {}
    /// Most levels to draft in this round; 0: a plain step.
    virtual int most() = 0;
    /// Most tokens of a tree; a chain has one a level.
    virtual int mostNodes() { return kMostTreeNodes; }
    /// The chance that a token is accepted, given the proposer's own guess at it.
    virtual double chanceOf(double confidence, Guesser) const { return confidence; }
    /// Whether a token that is reached and accepted with `chance` is worth being verified beside
    /// those of `draft`; `pass`: drafting it takes another pass of the draft as well.
    virtual bool worth(const Draft& draft, double chance, bool pass) = 0;
    virtual void learn(const RoundOutcome& round) = 0;
    /// Most levels of this round that `guesser`, one of two, may draft.
    virtual int levels(Guesser, int most) const { return most; }
    /// Whether looked-up tokens are worth more than asking the model: here, likelier than not.
    virtual bool prefersLookup(const Draft& draft) const { return reached(draft).front() > 0.5; }

    /// The chance that each token of `draft` is accepted, parents' and siblings' counted in.
    std::vector<double> reached(const Draft& draft) const;
    /// Whether another token is worth its time after the last one of the chain `draft`, which it is
    /// taken to resemble.
    bool more(const Draft& draft);
};

/// Always as many tokens. Of a tree, a branch gets some of them where it is likelier than the end
/// of a chain of them would be.
class FixedDraftLength : public DraftLength {
public:
    explicit FixedDraftLength(int tokens) : m_tokens(tokens) {}
    int most() override { return m_tokens; }
    int mostNodes() override { return m_tokens; }
    bool worth(const Draft& draft, double chance, bool pass) override;
    void learn(const RoundOutcome&) override {}

private:
    int m_tokens;
};

/// Learns costs and acceptance as it goes; drafts while the next token is expected to raise the
/// speed. Stops drafting where neither what was gained lately nor what acceptance and costs promise
/// exceeds plain decoding, tries again later, ever more rarely, and goes on only where that
/// promises more than nothing. What tries may lose is bounded by a share of the time spent. From
/// the second text on the draft reads its beginning only where the gain of an answer as long as the
/// earlier ones is worth that, or else seldom.
class AdaptiveDraftLength : public DraftLength {
public:
    /// `share`: of what tries may lose, where several are adapted at once.
    explicit AdaptiveDraftLength(double share = 1) : m_share(share) {}
    void restart() override;
    int most() override;
    double chanceOf(double confidence, Guesser guesser) const override;
    bool worth(const Draft& draft, double chance, bool pass) override;
    void learn(const RoundOutcome& round) override;
    /// What a pass took that verified another's draft.
    void learnPass(const RoundOutcome& round);
    /// What drafting lately gave, or promises to: times plain decoding.
    double bestSpeedup() const;
    /// The same for a round of this draft, whose drafting takes no time.
    double speedupOf(const Draft& draft) const;

    /// Mean over the recent past; for reports.
    double acceptance() const { return m_all.rate(); }
    bool paused() const { return m_pausedTokens > 0; }

private:
    /// Accepted of tried, the recent ones weighing more.
    struct Rate {
        double tried = 0, accepted = 0;
        void add(bool yes, double decay) {
            tried = tried * decay + 1;
            accepted = accepted * decay + (yes ? 1 : 0);
        }
        double rate() const { return accepted / tried; }
    };
    static std::size_t binOf(double confidence);
    void learnNode(const Draft& draft, int node, bool accepted);
    double verifySeconds(int tokens) const;
    bool worthReading() const;
    void learnCosts(const RoundOutcome& round);

    static constexpr int kBins = 10;
    double m_share;
    Rate m_all{4, 2.8};  // a hopeful start that a few rejections overcome
    std::array<Rate, kBins> m_bins{};
    std::array<double, kMostTreeNodes + 2> m_verify{};  ///< seconds by tokens; 0: not seen yet
    std::array<int, kMostTreeNodes + 2> m_seen{};       ///< times of those, up to a few
    double m_draftLevel = 0;                            ///< seconds per drafted level, may be none
    int m_levelsSeen = 0;
    // What the last rounds that drafted gave, and the plain steps that their time is worth.
    double m_tokens = 4, m_steps = 4;
    int m_plainSteps = 0;
    int m_sinceStep = 0;  ///< rounds that drafted since the last plain step
    int m_stepInterval = 8;
    double m_elapsed = 0;   ///< seconds of all rounds
    double m_balance = 0;   ///< seconds won (or lost, below 0) by drafting
    bool m_read = false;    ///< the draft has read this text's beginning
    bool m_settled = true;  ///< a pass has been made since this text began
    double m_reading = 0;   ///< seconds that reading took in earlier texts; 0: not known
    int m_readings = 0;
    double m_readAt = 0;   ///< m_elapsed then
    double m_answer = 0;   ///< tokens of earlier answers, in the mean
    double m_emitted = 0;  ///< tokens of this one so far
    int m_pausedTokens = 0;
    int m_interval = 0;
    int m_tries = 0;       ///< rounds left of a try
    int m_retiming = 0;    ///< plain steps to go before drafting is given up
    double m_retimed = 0;  ///< the least of those so far
};

/// For a proposer that looks up first and else asks a model: each is adapted to what it costs and
/// reaches, and looked-up tokens are taken where they promise more than the model gave lately.
class EitherDraftLength : public DraftLength {
public:
    void restart() override {
        m_lookup.restart();
        m_model.restart();
    }
    int most() override;
    double chanceOf(double confidence, Guesser guesser) const override;
    bool worth(const Draft& draft, double chance, bool pass) override;
    void learn(const RoundOutcome& round) override;
    int levels(Guesser guesser, int most) const override;
    bool prefersLookup(const Draft& draft) const override;

private:
    AdaptiveDraftLength& of(Guesser guesser) {
        return guesser == Guesser::Lookup ? m_lookup : m_model;
    }
    AdaptiveDraftLength m_lookup{0.5}, m_model{0.5};
    int m_lookupLevels = 0, m_modelLevels = 0;  ///< of this round
};

}  // namespace fettle
