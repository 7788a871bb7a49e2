// The roofline model (Williams, Waterman and Patterson 2009) of reading a prompt and of writing an
// answer: what a model's bytes and operations allow on a device, held against what was measured.
// The roofs are the best rates that runs in the database reached, so predictions rest on
// measurements and say nothing about a faster implementation. Plain values; any thread.
#pragma once

#include <QString>
#include <optional>
#include <vector>

#include "engine/experiment/experiment_record.h"
#include "engine/experiment/model_report.h"
#include "ui/bridge/experiment_list.h"

namespace fettle::ui {

/// What one token costs a model of this shape.
struct TokenCost {
    double weightBytes = 0;    ///< read for each step; embedding rows are looked up, not read whole
    double weightFlops = 0;    ///< 2 per weight that is multiplied
    double contextBytes = 0;   ///< of KV cache, per token of context
    double contextFlops = 0;   ///< of attention, per token of context
    double unreadWeights = 0;  ///< of an embedding that is no head
};
TokenCost tokenCost(const ModelReport& report);

struct DeviceRoofs {
    double bytesPerSecond = 0;  ///< 0: no run tells
    double flopsPerSecond = 0;
    qint64 bytesFrom = 0;  ///< experiment that reached it
    qint64 flopsFrom = 0;
    bool known() const { return bytesPerSecond > 0 && flopsPerSecond > 0; }
    /// Operations per byte at which the roofs meet.
    double ridge() const { return flopsPerSecond / bytesPerSecond; }
};
/// The best rates of finished runs on `device` of recipes on the model of `original`, measured
/// natively and without drafts, which would count tokens that were not computed.
DeviceRoofs measuredRoofs(const ExperimentList& records, const std::string& device,
                          const std::string& modelPath, const TokenCost& original);

struct RooflinePoint {
    enum class Phase { Prefill, Decode } phase = Phase::Decode;
    double intensity = 0;  ///< operations per byte
    double flopsPerToken = 0;
    double predicted = 0;  ///< tokens/s under the roofs
    bool memoryBound = true;
    std::optional<double> measured;  ///< tokens/s
    bool native = true;
};
/// Prompt and answer of the lengths that the speeds were measured with, else of those in `measure`.
std::vector<RooflinePoint> rooflinePoints(const TokenCost& cost, const DeviceRoofs& roofs,
                                          const ExperimentRecord& record,
                                          const MeasureOptions& measure);

}  // namespace fettle::ui
