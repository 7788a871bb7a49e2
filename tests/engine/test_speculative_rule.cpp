// The rules of speculative decoding without a model: the law of the output by enumeration of every
// chance, by counting draws, and the parts that choose what and how much to draft.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <numeric>

#include "engine/backend/cpu_backend.h"
#include "engine/core/random.h"
#include "engine/speculative/acceptance.h"
#include "engine/speculative/draft_length.h"
#include "engine/speculative/tree_drafter.h"

namespace fettle {
namespace {

constexpr int kTokens = 5;
constexpr int kDepth = 3;

/// Walks all outcomes of a computation: each run follows one path of decisions and has its
/// probability; the paths differ until none is left.
class EnumeratingChance : public Chance {
public:
    bool happens(double probability, const Decision&) override {
        return decide({1 - probability, probability}) == 1;
    }
    std::int32_t draw(const TokenDistribution& from, const Decision&) override {
        return from.idAt(static_cast<std::size_t>(decide(from.p)));
    }
    double weight() const { return m_weight; }
    /// Turns to the next path; false after the last.
    bool advance() {
        while (!m_path.empty() && m_path.back().second + 1 >= m_path.back().first)
            m_path.pop_back();
        if (m_path.empty())
            return false;
        ++m_path.back().second;
        m_at = 0;
        m_weight = 1;
        return true;
    }

private:
    int decide(const std::vector<double>& p) {
        if (m_at == m_path.size())
            m_path.emplace_back(static_cast<int>(p.size()), 0);
        const int choice = m_path[m_at++].second;
        m_weight *= p[static_cast<std::size_t>(choice)];
        return choice;
    }
    std::vector<std::pair<int, int>> m_path;  // number of choices, the one taken
    std::size_t m_at = 0;
    double m_weight = 1;
};

TokenDistribution randomDistribution(Philox& random, int tokens, bool sparse) {
    TokenDistribution d;
    double total = 0;
    for (int i = 0; i < tokens; ++i) {
        const double value = sparse && random.uniform() < 0.5 ? 0 : random.uniform();
        d.p.push_back(value);
        total += value;
    }
    if (total == 0)
        d.p[0] = total = 1;
    for (double& p : d.p)
        p /= total;
    return d;
}

/// A language model as a table: the distribution after each text.
class Table {
public:
    Table(std::uint64_t seed, int tokens, bool sparse)
        : m_random(seed), m_tokens(tokens), m_sparse(sparse) {}
    const TokenDistribution& after(const std::vector<std::int32_t>& text) {
        const auto found = m_rows.find(text);
        if (found != m_rows.end())
            return found->second;
        return m_rows[text] = randomDistribution(m_random, m_tokens, m_sparse);
    }

private:
    Philox m_random;
    int m_tokens;
    bool m_sparse;
    std::map<std::vector<std::int32_t>, TokenDistribution> m_rows;
};

std::vector<std::int32_t> textOf(const Draft& draft, int node) {
    std::vector<std::int32_t> text;
    for (; node >= 0; node = draft.nodes[static_cast<std::size_t>(node)].parent)
        text.insert(text.begin(), draft.nodes[static_cast<std::size_t>(node)].token);
    return text;
}

enum class Kind { Drawn, Chosen, Tree, Shaped, Grown };

/// A tree as proposers grow it, from the table `q`: a fixed shape, or as the chances say.
Draft grownDraft(Table& q, Kind kind, Chance& chance) {
    static CpuBackend backend(1);
    ModelConfig none;
    none.kvHeads = none.headDim = 1;
    KvCache cache(none, 1, kernels::KvType::F16, backend);
    SamplingOptions sampling;
    sampling.temperature = 1;
    FixedDraftLength four(4);
    const DraftTree shape = draftTree(kind == Kind::Grown ? "auto" : "2-1");
    const std::vector<std::int32_t> said{0};
    const DraftRequest request{said,   cache, 2,     4,  kTokens, sampling,
                               chance, four,  shape, {}, nullptr};
    Draft draft;
    std::vector<Continuation> places{{-1, 1, q.after({})}};
    for (int level = 0; level < 2; ++level) {
        const std::vector<int> added =
            addLevel(request, places, level == 0 ? 2 : 1, level == 0, draft);
        const std::vector<double> reached = four.reached(draft);
        places.clear();
        for (const int node : added)
            places.push_back(
                {node, reached[static_cast<std::size_t>(node)], q.after(textOf(draft, node))});
    }
    return draft;
}

Draft makeDraft(Table& q, Kind kind, int tokens, Chance& chance) {
    if (kind == Kind::Shaped || kind == Kind::Grown)
        return grownDraft(q, kind, chance);
    Draft draft;
    std::vector<std::int32_t> text;
    if (kind == Kind::Tree) {
        // Two roots drawn one after the other without putting back, children of the first chosen.
        const TokenDistribution first = q.after({});
        const std::int32_t a = chance.draw(first, {Purpose::Draft, 0, 0});
        TokenDistribution second = first;
        second.p[static_cast<std::size_t>(a)] = 0;
        const double rest = std::accumulate(second.p.begin(), second.p.end(), 0.0);
        draft.add(a, -1, 1, first);
        if (rest > 0) {
            for (double& p : second.p)
                p /= rest;
            draft.add(chance.draw(second, {Purpose::Draft, 0, 1}), -1, 1, second);
        }
        draft.add(1 % tokens, 0, 1);
        draft.add(2 % tokens, 0, 1);
        if (draft.size() > 3)
            draft.add(0, 1, 1);
        return draft;
    }
    for (int i = 0; i < kDepth; ++i) {
        TokenDistribution next = q.after(text);
        const std::int32_t token = kind == Kind::Chosen
                                       ? static_cast<std::int32_t>((i * 2 + 1) % tokens)
                                       : chance.draw(next, {Purpose::Draft, i, 0});
        draft.add(token, i - 1, 1, kind == Kind::Chosen ? TokenDistribution{} : next);
        text.push_back(token);
    }
    return draft;
}

/// Probability that the output begins with `prefix`, by the target alone.
double targetLaw(Table& p, const std::vector<std::int32_t>& output) {
    double probability = 1;
    std::vector<std::int32_t> text;
    for (const std::int32_t token : output) {
        probability *= p.after(text).of(token);
        text.push_back(token);
    }
    return probability;
}

class SpeculativeLaw : public ::testing::TestWithParam<std::tuple<Kind, bool, int>> {};

/// Every output of one round, continued by the target to a fixed length, has the target's law.
TEST_P(SpeculativeLaw, EqualsTheTargetsByEnumeration) {
    const auto [kind, sparse, seed] = GetParam();
    const int tokens = kind == Kind::Drawn || kind == Kind::Chosen ? kTokens
                       : kind == Kind::Tree                        ? 4
                                                                   : 3;
    Table p(static_cast<std::uint64_t>(seed), tokens, sparse),
        q(static_cast<std::uint64_t>(seed) + 100, tokens, sparse);
    std::map<std::vector<std::int32_t>, double> law;  // of what one round gives
    double total = 0;
    EnumeratingChance chance;
    do {
        const Draft draft = makeDraft(q, kind, tokens, chance);
        const Verdict verdict = judge(
            draft, [&](int node) { return p.after(textOf(draft, node)); }, 0, chance);
        std::vector<std::int32_t> output = verdict.accepted.empty()
                                               ? std::vector<std::int32_t>{}
                                               : textOf(draft, verdict.accepted.back());
        output.push_back(verdict.next);
        law[output] += chance.weight();
        total += chance.weight();
    } while (chance.advance());
    EXPECT_NEAR(total, 1, 1e-12);
    // The probability that the text begins with `prefix`: rounds that reach so far, and shorter
    // ones that the target itself continues.
    const auto begins = [&](const std::vector<std::int32_t>& prefix) {
        double sum = 0;
        for (const auto& [output, probability] : law) {
            const std::size_t common = std::min(output.size(), prefix.size());
            if (!std::equal(output.begin(), output.begin() + static_cast<std::ptrdiff_t>(common),
                            prefix.begin()))
                continue;
            double weight = probability;
            std::vector<std::int32_t> text = output;
            for (std::size_t i = common; i < prefix.size(); ++i) {
                weight *= p.after(text).of(prefix[i]);
                text.push_back(prefix[i]);
            }
            sum += weight;
        }
        return sum;
    };
    for (std::int32_t a = 0; a < tokens; ++a) {
        EXPECT_NEAR(begins({a}), targetLaw(p, {a}), 1e-12);
        for (std::int32_t b = 0; b < tokens; ++b) {
            EXPECT_NEAR(begins({a, b}), targetLaw(p, {a, b}), 1e-12);
            for (std::int32_t c = 0; c < tokens; ++c)
                EXPECT_NEAR(begins({a, b, c}), targetLaw(p, {a, b, c}), 1e-12);
        }
    }
}

INSTANTIATE_TEST_SUITE_P(All, SpeculativeLaw,
                         ::testing::Combine(::testing::Values(Kind::Drawn, Kind::Chosen, Kind::Tree,
                                                              Kind::Shaped, Kind::Grown),
                                            ::testing::Bool(), ::testing::Values(1, 2, 3)));

/// Upper bound of the chi-square statistic at p = 1e-4, Wilson & Hilferty 1931.
double chiSquareLimit(double degrees) {
    const double z = 3.719, t = 2 / (9 * degrees);
    return degrees * std::pow(1 - t + z * std::sqrt(t), 3);
}

double chiSquare(const std::vector<int>& counts, const TokenDistribution& expected, int draws) {
    double sum = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        const double e = expected.of(static_cast<std::int32_t>(i)) * draws;
        if (e <= 0) {
            EXPECT_EQ(counts[i], 0) << "token " << i << " has no probability";
            continue;
        }
        sum += (counts[i] - e) * (counts[i] - e) / e;
    }
    return sum;
}

class SpeculativeDraws : public ::testing::TestWithParam<SamplingOptions> {};

TEST_P(SpeculativeDraws, FollowTheTargetsDistribution) {
    constexpr int kDraws = 200000, kWords = 12;
    const SamplingOptions options = GetParam();
    Philox random(7);
    std::vector<float> target(kWords), draft(kWords);
    for (int i = 0; i < kWords; ++i) {
        target[static_cast<std::size_t>(i)] = static_cast<float>(3 * random.uniform());
        draft[static_cast<std::size_t>(i)] = static_cast<float>(3 * random.uniform());
    }
    const TokenDistribution p = nextTokens(target.data(), kWords, options),
                            q = nextTokens(draft.data(), kWords, options);
    double agreement = 0;
    for (std::int32_t i = 0; i < kWords; ++i)
        agreement += std::min(p.of(i), q.of(i));
    std::vector<int> counts(kWords), bonus(kWords);
    int accepted = 0;
    PhiloxChance chance(99);
    for (int i = 0; i < kDraws; ++i) {
        Draft proposal;
        const std::int64_t position = 2 * i;
        proposal.add(chance.draw(q, {Purpose::Draft, position, 0}), -1, 1, q);
        const Verdict verdict = judge(
            proposal, [&](int) { return p; }, position, chance);
        const bool taken = !verdict.accepted.empty();
        accepted += taken ? 1 : 0;
        ++counts[static_cast<std::size_t>(taken ? proposal.nodes[0].token : verdict.next)];
        if (taken)
            ++bonus[static_cast<std::size_t>(verdict.next)];
    }
    EXPECT_LT(chiSquare(counts, p, kDraws), chiSquareLimit(static_cast<double>(p.p.size()) - 1));
    EXPECT_LT(chiSquare(bonus, p, accepted), chiSquareLimit(static_cast<double>(p.p.size()) - 1));
    // The acceptance rate is the overlap of the two distributions.
    EXPECT_NEAR(static_cast<double>(accepted) / kDraws, agreement,
                4 * std::sqrt(agreement * (1 - agreement) / kDraws) + 1e-9);
}

/// The same with trees of drafts, which grow as the draft's distribution says.
TEST_P(SpeculativeDraws, FollowTheTargetsDistributionFromTrees) {
    constexpr int kDraws = 150000, kWords = 8;
    const SamplingOptions options = GetParam();
    Philox random(11);
    std::vector<float> target(kWords), draft(kWords);
    for (int i = 0; i < kWords; ++i) {
        target[static_cast<std::size_t>(i)] = static_cast<float>(3 * random.uniform());
        draft[static_cast<std::size_t>(i)] = static_cast<float>(3 * random.uniform());
    }
    const TokenDistribution p = nextTokens(target.data(), kWords, options),
                            q = nextTokens(draft.data(), kWords, options);
    CpuBackend backend(1);
    ModelConfig none;
    none.kvHeads = none.headDim = 1;
    KvCache cache(none, 1, kernels::KvType::F16, backend);
    FixedDraftLength six(6);
    const DraftTree shape = draftTree("auto");
    std::vector<int> first(kWords), second(kWords);
    int reachedSecond = 0, siblings = 0;
    const std::vector<std::int32_t> said(1, 0);
    for (int i = 0; i < kDraws; ++i) {
        PhiloxChance chance(static_cast<std::uint64_t>(i) + 1);
        Draft tree;
        const DraftRequest request{said,   cache, 2,     6,  kWords, options,
                                   chance, six,   shape, {}, nullptr};
        std::vector<Continuation> places{{-1, 1, q}};
        for (int level = 0; level < 2; ++level) {
            std::vector<Continuation> next;
            const std::vector<double> before = six.reached(tree);
            for (const int node : addLevel(request, places, 0, level == 0, tree))
                next.push_back({node, six.reached(tree)[static_cast<std::size_t>(node)], q});
            places = std::move(next);
        }
        siblings += tree.size() > 1 && tree.nodes[1].parent < 0 ? 1 : 0;
        const Verdict verdict = judge(
            tree, [&](int) { return p; }, 1, chance);
        std::vector<std::int32_t> output;
        for (const int node : verdict.accepted)
            output.push_back(tree.nodes[static_cast<std::size_t>(node)].token);
        output.push_back(verdict.next);
        ++first[static_cast<std::size_t>(output[0])];
        if (output.size() > 1) {
            ++second[static_cast<std::size_t>(output[1])];
            ++reachedSecond;
        }
    }
    if (p.p.size() > 1) {
        EXPECT_GT(siblings, kDraws / 2);
    }
    const double degrees = static_cast<double>(p.p.size()) - 1;
    EXPECT_LT(chiSquare(first, p, kDraws), chiSquareLimit(degrees));
    EXPECT_LT(chiSquare(second, p, reachedSecond), chiSquareLimit(degrees));
}

INSTANTIATE_TEST_SUITE_P(
    Sampling, SpeculativeDraws,
    ::testing::Values(SamplingOptions{1, 0, 1, 0, 1}, SamplingOptions{0.5, 0, 1, 0, 1},
                      SamplingOptions{1.5, 5, 1, 0, 1}, SamplingOptions{1, 0, 0.7, 0, 1},
                      SamplingOptions{1, 0, 1, 0.3, 1}, SamplingOptions{0.8, 8, 0.9, 0.1, 1}));

TEST(SpeculativeRule, GuardsAgainstRoundingToNothing) {
    const TokenDistribution p{{}, {0.5, 0.5}};
    EXPECT_EQ(acceptProbability(p, p, 0), 1);
    EXPECT_EQ(afterRejection(p, p, 0).p, p.p);
    const TokenDistribution other = TokenDistribution::certain(1);
    EXPECT_EQ(acceptProbability(TokenDistribution::certain(0), other, 1), 0);
    EXPECT_EQ(afterRejection(TokenDistribution::certain(0), other, 1).at(0.9), 0);
}

TEST(Sampling, KeepsWhatTheOptionsAsk) {
    const std::vector<float> logits{1, 3, 2, 3, -1};
    SamplingOptions greedy;
    EXPECT_EQ(nextTokens(logits.data(), 5, greedy).ids, std::vector<std::int32_t>{1});
    SamplingOptions top;
    top.temperature = 1;
    top.topK = 3;
    EXPECT_EQ(nextTokens(logits.data(), 5, top).ids, (std::vector<std::int32_t>{1, 2, 3}));
    SamplingOptions nucleus;
    nucleus.temperature = 1;
    nucleus.topP = 0.5;  // e^3 + e^3 of e + 2 e^3 + e^2 + 1/e: one is 0.39, two are 0.79
    EXPECT_EQ(nextTokens(logits.data(), 5, nucleus).ids, (std::vector<std::int32_t>{1, 3}));
    SamplingOptions minimum;
    minimum.temperature = 1;
    minimum.minP = 0.3;  // e^-1 = 0.37 stays, e^-2 = 0.14 goes
    EXPECT_EQ(nextTokens(logits.data(), 5, minimum).ids, (std::vector<std::int32_t>{1, 2, 3}));
    SamplingOptions plain;
    plain.temperature = 2;
    const TokenDistribution all = nextTokens(logits.data(), 5, plain);
    EXPECT_NEAR(std::accumulate(all.p.begin(), all.p.end(), 0.0), 1, 1e-15);
    EXPECT_NEAR(all.of(1) / all.of(0), std::exp(1.0), 1e-12);
}

TEST(DraftLength, FormulaGivesTheKnownOptima) {
    // a = .8, c = .05: 8 tokens, 3.09 times (Leviathan et al. 2023, theorem 3.8 with v = 1).
    EXPECT_NEAR(expectedSpeedup(0.8, 8, 0.05, 1), 3.09, 0.005);
    EXPECT_NEAR(expectedSpeedup(0.6, 2, 0.2, 1), 1.40, 0.005);
    EXPECT_NEAR(expectedTokens(1, 5), 6, 1e-12);
}

/// A machine with fixed costs and a draft that is right with a fixed probability: time per token
/// against plain decoding. The first pass takes `firstStep` times as long as the same later.
double simulatedSpeedup(double acceptance, double draftCost, double slope, int tokens,
                        double firstStep = 1) {
    AdaptiveDraftLength length;
    Philox random(3);
    double seconds = 0;
    int emitted = 0;
    while (emitted < tokens) {
        Draft draft;
        const int most = length.most();
        if (most > 0) {
            do
                draft.add(0, draft.size() - 1, 0.5);
            while (draft.size() < most && length.more(draft));
        }
        Verdict verdict;
        for (int i = 0; i < draft.size(); ++i) {
            if (random.uniform() >= acceptance) {
                verdict.rejected.push_back(i);
                break;
            }
            verdict.accepted.push_back(i);
        }
        const double drafting = draft.size() * draftCost,
                     verifying = (emitted == 0 ? firstStep : 1) + slope * draft.size();
        length.learn({&draft, draft.empty() ? nullptr : &verdict, drafting, verifying});
        seconds += drafting + (emitted == 0 ? 1 : verifying);
        emitted += static_cast<int>(verdict.accepted.size()) + 1;
    }
    return emitted / seconds;
}

/// The same where every `period`-th place can be looked up, right with `lookedUp`; elsewhere and
/// where that is not preferred a model guesses.
double simulatedEither(double lookedUp, int period, double acceptance, double draftCost,
                       double slope, int tokens) {
    EitherDraftLength length;
    Philox random(3);
    double seconds = 0;
    int emitted = 0;
    for (int round = 0; emitted < tokens; ++round) {
        Draft draft;
        const int most = length.most();
        const auto guess = [&](Guesser guesser) {
            draft = {};
            draft.guesser = guesser;
            const int levels = length.levels(guesser, most);
            while (draft.size() < levels && (draft.empty() || length.more(draft)))
                draft.add(0, draft.size() - 1, 0.5);
        };
        if (round % period == 0)
            guess(Guesser::Lookup);
        if (draft.empty() || !length.prefersLookup(draft))
            guess(Guesser::Model);
        const bool lookup = draft.guesser == Guesser::Lookup;
        Verdict verdict;
        for (int i = 0; i < draft.size(); ++i) {
            if (random.uniform() >= (lookup ? lookedUp : acceptance)) {
                verdict.rejected.push_back(i);
                break;
            }
            verdict.accepted.push_back(i);
        }
        const double drafting = lookup ? 0 : draft.size() * draftCost,
                     verifying = 1 + slope * draft.size();
        length.learn({&draft, draft.empty() ? nullptr : &verdict, drafting, verifying});
        seconds += drafting + verifying;
        emitted += static_cast<int>(verdict.accepted.size()) + 1;
    }
    return emitted / seconds;
}

/// Answers of 128 tokens one after the other, with what was learned from those before; the draft
/// reads each text for `reading` steps when it is first asked, and its first three guesses take
/// three times as long, out of cold caches. Speed-up from answer `first` on; `acceptance` by
/// answer. The machine is `slower` by that factor in spells of 20 to 400 passes.
double simulatedAnswers(const std::function<double(int)>& acceptance, double draftCost,
                        double slope, double reading, int answers, int first = 1, double slower = 1,
                        std::uint64_t seed = 5) {
    AdaptiveDraftLength length;
    Philox random(seed), machine(seed + 100);
    double seconds = 0, tokens = 0, pace = 1;
    int spell = 0;
    for (int answer = 0; answer < answers; ++answer) {
        length.restart();
        bool read = false;
        int drafts = 0;
        for (int emitted = 0, pass = 0; emitted < 128; ++pass) {
            if (spell-- <= 0) {
                pace = pace > 1 ? 1 : slower;
                spell = 20 + static_cast<int>(machine.below(380));
            }
            Draft draft;
            const int most = length.most();
            if (most > 0) {
                draft.catchUpSeconds = read ? 0 : pace * reading;
                read = true;
                do
                    draft.add(0, draft.size() - 1, 0.5);
                while (draft.size() < most && length.more(draft));
            }
            Verdict verdict;
            for (int i = 0; i < draft.size(); ++i) {
                if (random.uniform() >= acceptance(answer)) {
                    verdict.rejected.push_back(i);
                    break;
                }
                verdict.accepted.push_back(i);
            }
            drafts += draft.empty() ? 0 : 1;
            const double cold = drafts <= 3 ? 3 : 1;
            const double drafting = draft.catchUpSeconds + pace * cold * draft.size() * draftCost,
                         verifying = pace * ((pass == 0 ? 2 : 1) + cold * slope * draft.size());
            length.learn({&draft, draft.empty() ? nullptr : &verdict, drafting, verifying});
            const int more = static_cast<int>(verdict.accepted.size()) + 1;
            emitted += more;
            if (answer >= first) {
                seconds += (drafting + verifying) / pace - (pass == 0 ? 1 : 0);
                tokens += more;
            }
        }
    }
    return tokens / seconds;
}

TEST(DraftLength, WhatDoesNotPayCostsLaterAnswersNearlyNothing) {
    for (const double acceptance : {0.0, 0.2, 0.4, 0.5})
        for (const double cost : {0.1, 0.25})
            for (const double slope : {0.1, 0.35})
                for (const double reading : {0.0, 7.0, 30.0})
                    EXPECT_GT(
                        simulatedAnswers([&](int) { return acceptance; }, cost, slope, reading, 24),
                        0.98)
                        << "acceptance " << acceptance << ", cost " << cost << ", slope " << slope
                        << ", reading " << reading;
}

TEST(DraftLength, ReadsATextWhereTheAnswerIsWorthIt) {
    const double gain = expectedSpeedup(0.8, 3, 0.1, 1.15), steps = 128 / gain;
    EXPECT_GT(simulatedAnswers([](int) { return 0.8; }, 0.1, 0.05, 7, 24), 0.9 * 128 / (steps + 7));
    // A draft that gains a twentieth of an answer is not worth a tenth of it.
    EXPECT_GT(simulatedAnswers([](int) { return 0.5; }, 0.25, 0.15, 13, 48), 0.98);
}

// A neighbour that takes half of a shared core makes everything slower, drafting and plain steps.
TEST(DraftLength, SlowSpellsOfTheMachineAreNotHeldAgainstDrafting) {
    for (const double acceptance : {0.6, 0.8})
        for (const double reading : {0.0, 7.0})
            for (std::uint64_t seed = 1; seed <= 8; ++seed) {
                const auto gain = [&](double slower) {
                    return simulatedAnswers([&](int) { return acceptance; }, 0.15, 0.12, reading,
                                            24, 1, slower, seed);
                };
                EXPECT_GT(gain(1.7), 0.92 * gain(1))
                    << "acceptance " << acceptance << ", reading " << reading << ", seed " << seed;
            }
}

TEST(DraftLength, LooksAgainInLaterAnswers) {
    EXPECT_GT(simulatedAnswers([](int answer) { return answer < 12 ? 0.0 : 0.85; }, 0.1, 0.05, 7,
                               120, 80),
              1.5);
    EXPECT_GT(
        simulatedAnswers([](int answer) { return answer < 12 ? 0.85 : 0.0; }, 0.1, 0.05, 7, 60, 12),
        0.97);
}

TEST(DraftLength, LooksUpWhereThatIsWorthMoreThanTheModel) {
    for (const double cost : {0.1, 0.2}) {
        const double model = simulatedSpeedup(0.6, cost, 0.05, 4000);
        // Good copies at every third place are a gain; bad ones are soon left to the model.
        EXPECT_GT(simulatedEither(0.9, 3, 0.6, cost, 0.05, 4000), 1.1 * model) << cost;
        EXPECT_GT(simulatedEither(0.05, 1, 0.6, cost, 0.05, 4000), 0.95 * model) << cost;
        // Where the model does not pay, the copies still do.
        EXPECT_GT(simulatedEither(0.9, 3, 0.0, cost, 0.05, 4000), 1.2) << cost;
    }
}

TEST(DraftLength, NeitherLookingUpNorAskingLosesMoreThanThreePercent) {
    for (const double acceptance : {0.0, 0.2})
        for (const double lookedUp : {0.0, 0.2})
            for (const double cost : {0.0, 0.1, 0.5})
                for (const double slope : {0.05, 0.3, 1.0})
                    for (const int tokens : {128, 1024})
                        EXPECT_GT(simulatedEither(lookedUp, 2, acceptance, cost, slope, tokens),
                                  0.97)
                            << "acceptance " << acceptance << ", looked up " << lookedUp
                            << ", cost " << cost << ", slope " << slope << ", tokens " << tokens;
}

TEST(DraftLength, SaysWhatADraftMustReach) {
    EXPECT_NEAR(neededAcceptance(1, 1, 0.3, 1), 0.3, 1e-5);  // worth it from a = c on
    EXPECT_NEAR(neededAcceptance(3.0, 8, 0.05, 1), 0.795, 0.01);
    EXPECT_GT(neededAcceptance(2, 1, 0.1, 1), 1);
    EXPECT_NEAR(neededAcceptance(1, 0.3, {1, 1, 1}), 0.3, 1e-5);
    EXPECT_GT(neededAcceptance(1, 0.1, {1, 3, 4}), 1);
}

TEST(DraftLength, CountsSiblingsOnce) {
    FixedDraftLength length(4);
    Draft draft;
    draft.add(1, -1, 0.5);
    draft.add(2, -1, 0.5);  // of what the first leaves
    draft.add(3, 0, 0.5);
    draft.add(4, 1, 1);
    EXPECT_EQ(length.reached(draft), (std::vector<double>{0.5, 0.25, 0.25, 0.25}));
}

TEST(DraftTree, ReadsItsWords) {
    EXPECT_EQ(draftTree("").kind, DraftTree::Kind::Chain);
    EXPECT_EQ(draftTree("auto").kind, DraftTree::Kind::Dynamic);
    EXPECT_EQ(draftTree("3-2-1").widths, (std::vector<int>{3, 2, 1}));
    for (const char* bad : {"3-", "-", "0", "3-2-x", "4-4-4", "32", "1-1,2", "yes"})
        EXPECT_THROW(draftTree(bad), EngineError) << bad;
}

TEST(DraftLength, AdaptsToWhatPays) {
    for (const double acceptance : {0.6, 0.8, 0.9})
        for (const double cost : {0.02, 0.1, 0.2}) {
            double best = 1;
            for (int g = 1; g <= kMostDrafted; ++g)
                best = std::max(best, expectedSpeedup(acceptance, g, cost, 1 + 0.04 * g));
            EXPECT_GT(simulatedSpeedup(acceptance, cost, 0.04, 4000), 0.9 * best)
                << "acceptance " << acceptance << ", cost " << cost;
        }
}

/// The same for a draft that has a second guess at each place, right with `second` once the first
/// is not, and may put both into a tree.
double simulatedTreeSpeedup(double acceptance, double second, double draftCost, double slope,
                            int tokens) {
    AdaptiveDraftLength length;
    Philox random(4);
    double seconds = 0;
    int emitted = 0;
    while (emitted < tokens) {
        Draft draft;
        const int most = length.most();
        int at = -1;
        for (int level = 0; level < most; ++level) {
            if (level > 0 && !length.worth(draft,
                                           length.reached(draft)[static_cast<std::size_t>(at)] *
                                               length.chanceOf(0.75, Guesser::Model),
                                           true))
                break;
            const int parent = at;
            at = draft.add(0, parent, 0.75);
            const double reached =
                length.reached(draft).back() / length.chanceOf(0.75, Guesser::Model);
            const double chance = reached * (1 - length.chanceOf(0.75, Guesser::Model)) *
                                  length.chanceOf(0.45, Guesser::Model);
            if (length.worth(draft, chance, false))
                draft.add(1, parent, 0.45);
        }
        Verdict verdict;
        int node = 0;
        while (node < draft.size()) {
            const bool sibling = node + 1 < draft.size() &&
                                 draft.nodes[static_cast<std::size_t>(node)].parent ==
                                     draft.nodes[static_cast<std::size_t>(node) + 1].parent;
            if (random.uniform() < acceptance) {
                verdict.accepted.push_back(node);
                node += sibling ? 2 : 1;
                continue;
            }
            verdict.rejected.push_back(node);
            if (sibling && random.uniform() < second)
                verdict.accepted.push_back(node + 1);
            else if (sibling)
                verdict.rejected.push_back(node + 1);
            break;
        }
        const double drafting = draft.depth() * draftCost, verifying = 1 + slope * draft.size();
        length.learn({&draft, draft.empty() ? nullptr : &verdict, drafting, verifying});
        seconds += drafting + verifying;
        emitted += static_cast<int>(verdict.accepted.size()) + 1;
    }
    return emitted / seconds;
}

TEST(DraftLength, TreesPayWhereSecondGuessesAreOftenRight) {
    for (const double cost : {0.05, 0.2}) {
        const double chain = simulatedSpeedup(0.6, cost, 0.02, 6000),
                     tree = simulatedTreeSpeedup(0.6, 0.6, cost, 0.02, 6000);
        EXPECT_GT(tree, 1.05 * chain) << "cost " << cost;
        // Second guesses that are never right are given up.
        EXPECT_GT(simulatedTreeSpeedup(0.6, 0, cost, 0.1, 6000),
                  0.93 * simulatedSpeedup(0.6, cost, 0.1, 6000))
            << "cost " << cost;
    }
}

TEST(DraftLength, TreesNeverLoseMoreThanThreePercent) {
    for (const double acceptance : {0.0, 0.05, 0.2, 0.4})
        for (const double cost : {0.0, 0.1, 0.5})
            for (const double slope : {0.05, 0.3, 1.0})
                EXPECT_GT(simulatedTreeSpeedup(acceptance, 0.1, cost, slope, 1024), 0.97)
                    << "acceptance " << acceptance << ", cost " << cost << ", slope " << slope;
}

// Behind a prompt caches hold other things: the first step says little about the next ones.
TEST(DraftLength, ASlowFirstStepMisleadsNobody) {
    for (const double acceptance : {0.2, 0.45, 0.8})
        for (const double slope : {0.05, 0.36})
            for (const int tokens : {128, 1024}) {
                const double usual = simulatedSpeedup(acceptance, 0.2, slope, tokens);
                for (const double first : {0.8, 2.0, 5.0})
                    EXPECT_NEAR(simulatedSpeedup(acceptance, 0.2, slope, tokens, first), usual,
                                0.03 * usual)
                        << "acceptance " << acceptance << ", slope " << slope << ", tokens "
                        << tokens << ", first step " << first;
            }
}

TEST(DraftLength, NeverLosesMoreThanThreePercent) {
    for (const double acceptance : {0.0, 0.05, 0.2, 0.4})
        for (const double cost : {0.0, 0.1, 0.5, 0.9})
            for (const double slope : {0.05, 0.3, 1.0})
                for (const int tokens : {128, 1024})
                    EXPECT_GT(simulatedSpeedup(acceptance, cost, slope, tokens), 0.97)
                        << "acceptance " << acceptance << ", cost " << cost << ", slope " << slope
                        << ", tokens " << tokens;
}

}  // namespace
}  // namespace fettle
