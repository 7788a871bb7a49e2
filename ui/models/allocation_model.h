// Mixed precision while a slider moves: which scheme each weight gets under a target, from scores
// that a run of ptq left. Holds no widget; solves at once. GUI thread only.
#pragma once

#include <QObject>
#include <QString>
#include <map>
#include <optional>
#include <vector>

#include "engine/experiment/bit_allocation.h"
#include "engine/experiment/experiment_record.h"
#include "engine/experiment/model_report.h"
#include "ui/bridge/experiment_list.h"

namespace fettle::ui {

/// What is known of the model whose weights were scored.
struct AllocationScores {
    qint64 experiment = 0;
    std::vector<AllocationUnit> units;
    double weights = 0;      ///< how many weights the units hold
    bool divergence = true;  ///< losses are nats of KL divergence; else a score that only ranks
    RecipeStep step;         ///< the ptq step that scored them
    /// Bytes of all other tensors; unknown until the model has been read.
    std::optional<double> otherBytes;
    double kvBytesPerToken = 0;
    std::int64_t contextLength = 0;
    /// Measured seconds per token with all units in one scheme, by scheme ("none": as they are).
    std::map<std::string, double> secondsPerToken;

    bool empty() const { return units.empty(); }
};

/// The scores that `detail` holds; empty where it has none.
AllocationScores allocationScores(const ExperimentDetail& detail);
/// Adds what the model's file tells.
void addModelFacts(AllocationScores& scores, const ModelReport& report);
/// Adds the decode speeds that finished runs of the same model and device had with one scheme for
/// all; of several with the same scheme the newest counts.
void addMeasuredSpeeds(AllocationScores& scores, const ExperimentList& records);
/// Whether an experiment may hold scores, told from its metrics alone.
bool mayHoldScores(const ExperimentRecord& record);

class AllocationModel : public QObject {
    Q_OBJECT

public:
    /// Bits per weight, bytes of all weights, bytes of weights and KV cache, tokens per second.
    enum class Target { Bits, FileSize, Memory, Speed };
    struct Range {
        double low = 0;
        double high = 0;
    };

    explicit AllocationModel(QObject* parent = nullptr);

    void setScores(AllocationScores scores);
    const AllocationScores& scores() const { return m_scores; }
    bool empty() const { return m_scores.empty(); }

    void setTarget(Target target);
    Target target() const { return m_target; }
    /// Why a target cannot be set; empty when it can.
    QString problem(Target target) const;
    /// Tokens of context that Target::Memory has to have room for.
    void setContext(std::int64_t tokens);
    std::int64_t context() const { return m_context; }
    /// In the unit of the target. What lies outside the range is kept and said by withinTarget().
    void setValue(double value);
    double value() const { return m_value; }
    Range range() const { return m_range; }

    /// Choice of a unit that nothing may change; -1: free again.
    void pin(std::size_t unit, int choice);
    void unpinAll();
    int pinned(std::size_t unit) const { return m_scores.units[unit].pinned; }
    std::size_t pinnedCount() const;

    const BitAllocation& allocation() const { return m_allocation; }
    bool withinTarget() const { return m_within; }
    double bits() const { return bitsOf(m_allocation); }
    double bitsOf(const BitAllocation& allocation) const;
    /// Bits per weight of a choice, scales included.
    double choiceBits(std::size_t unit, std::size_t choice) const;
    /// NaN while the model's other tensors are unknown.
    double weightBytes() const { return weightBytesOf(m_allocation); }
    double weightBytesOf(const BitAllocation& allocation) const;
    double memoryBytes() const;
    /// Predicted from measured speeds of uniform schemes; NaN where one of the chosen was never
    /// measured.
    double tokensPerSecond() const { return tokensPerSecondOf(m_allocation); }
    double tokensPerSecondOf(const BitAllocation& allocation) const;
    /// Chosen schemes without a measured speed, "none" among them.
    QStringList unmeasured() const;
    /// Best allocations of every budget, the smallest first; pins hold in them.
    const std::vector<BitAllocation>& front() const { return m_front; }
    double solveMilliseconds() const { return m_solveMs; }

    /// ptq with the chosen scheme of every unit, otherwise as the step that was scored.
    Recipe recipe() const;

signals:
    void scoresChanged();
    /// Target, range or front is another one; changed() follows.
    void rangeChanged();
    void changed();

private:
    double shareOf(std::size_t unit) const;
    /// The units with seconds for bytes, and only schemes whose speed was measured; `kept` maps
    /// their choices back.
    std::vector<AllocationUnit> timedUnits(std::vector<std::vector<std::size_t>>& kept) const;
    /// `keep`: the allocation fits the value already.
    void updateRange(bool keep = false);
    void solve();

    AllocationScores m_scores;
    Target m_target = Target::Bits;
    std::int64_t m_context = 4096;
    double m_value = 4;
    Range m_range;
    BitAllocation m_allocation;
    bool m_within = true;
    std::vector<BitAllocation> m_front;
    double m_plainBytes = 0;
    double m_solveMs = 0;
};

}  // namespace fettle::ui
