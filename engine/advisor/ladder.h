// The ladder while it is climbed: rungs, budget, and how a choice among candidates is made.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/advisor/targets.h"
#include "engine/experiment/advisor_values.h"

namespace fettle {

class Ladder {
public:
    Ladder(const AdvisorGoal& goal, const AdvisorKnowledge& known) : m_goal(goal), m_known(known) {}

    AdvisorReport& report() { return m_report; }
    const AdvisorGoal& goal() const { return m_goal; }
    const MetricMap& baseline() const;

    /// A trial of a stage: in full, or on `share` of evaluation and training.
    AdvisorTrial trial(const std::string& stage, const Recipe& recipe, double share) const;
    /// What it is estimated to cost. False: that has to be asked first, and the report asks.
    bool estimate(const AdvisorTrial& trial, RecipeEstimate& estimate);
    /// Its rung, measured or failed, as an index. False: it has to be run first, and the report
    /// asks.
    bool measure(const AdvisorTrial& trial, std::size_t& rung);

    /// Successive halving; the ones that were measured in full are put into `finals`, best first.
    /// Stops at the first that holds all targets. False: the report asks.
    bool choose(const std::string& stage, const std::vector<Recipe>& candidates,
                std::vector<std::size_t>& finals);

    void decide(const std::string& stage, const std::string& text);
    void skip(const std::string& stage, const std::string& title, const std::string& reason);
    /// Seconds of the budget that are left; infinite without one.
    double secondsLeft() const;
    /// An estimate in the time that this stage's runs really took against theirs.
    double expectedSeconds(const std::string& stage, const RecipeEstimate& estimate) const;

    /// Measured in full, in the order in which they were made.
    std::vector<std::size_t> inFull() const;
    const AdvisorRung& rung(std::size_t index) const { return m_report.rungs[index]; }
    /// Fewer violations first, then the smaller loss, then the faster.
    bool better(const AdvisorRung& a, const AdvisorRung& b) const;

private:
    bool affordable(const std::string& stage, std::vector<Recipe>& candidates);
    bool round(const std::string& stage, std::vector<Recipe>& alive, double share,
               std::vector<std::size_t>& rungs);
    std::size_t place(const AdvisorTrial& trial, AdvisorRung::State state);
    void fill(AdvisorRung& rung, const AdvisorOutcome& outcome) const;

    const AdvisorGoal& m_goal;
    const AdvisorKnowledge& m_known;
    AdvisorReport m_report;
    struct Pace {
        double measured = 0;   ///< seconds of runs that had an estimate
        double estimated = 0;  ///< what these were estimated to take
    };
    std::map<std::string, Pace> m_pace;  ///< by stage
    std::set<std::string> m_counted;     ///< keys whose time is in the budget already
};

}  // namespace fettle
