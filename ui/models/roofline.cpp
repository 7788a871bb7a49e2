#include "ui/models/roofline.h"

#include <algorithm>
#include <cmath>

namespace fettle::ui {
namespace {

const Measurement* nativeMetric(const ExperimentRecord& record, const char* name) {
    const auto found = record.metrics.find(name);
    const bool usable = found != record.metrics.end() && found->second.native &&
                        !found->second.estimated && std::isfinite(found->second.value) &&
                        found->second.value > 0;
    return usable ? &found->second : nullptr;
}

bool drafts(const ExperimentRecord& record) {
    return std::any_of(record.recipe.steps.begin(), record.recipe.steps.end(),
                       [](const RecipeStep& step) { return step.technique == "speculative"; });
}

bool holds(const TensorReport& tensor, const char* weight) {
    return std::find(tensor.weights.begin(), tensor.weights.end(), weight) != tensor.weights.end();
}

}  // namespace

TokenCost tokenCost(const ModelReport& report) {
    TokenCost cost;
    const bool ownHead =
        std::any_of(report.tensors.begin(), report.tensors.end(),
                    [](const TensorReport& tensor) { return holds(tensor, "lm_head.weight"); });
    for (const TensorReport& tensor : report.tensors) {
        double values = 1;
        for (const std::int64_t size : tensor.shape) {
            values *= static_cast<double>(size);
        }
        const bool lookedUp =
            holds(tensor, "position_embed.weight") ||
            (holds(tensor, "embed.weight") && ownHead && !holds(tensor, "lm_head.weight"));
        if (lookedUp) {
            cost.unreadBytes += static_cast<double>(tensor.bytes);
            cost.unreadWeights += values;
            continue;
        }
        cost.weightBytes += static_cast<double>(tensor.bytes);
        cost.weightFlops += tensor.shape.size() > 1 ? 2 * values : 0;
    }
    cost.contextBytes = static_cast<double>(report.kvBytesPerToken);
    // Scores and weighted sum: two products per head, two operations per element each.
    cost.contextFlops = 4.0 * static_cast<double>(report.heads) *
                        static_cast<double>(report.headDim) * static_cast<double>(report.layers);
    return cost;
}

DeviceRoofs measuredRoofs(const std::vector<ExperimentRecord>& records, const std::string& device,
                          const std::string& modelPath, const TokenCost& original) {
    DeviceRoofs roofs;
    for (const ExperimentRecord& record : records) {
        if (record.status != ExperimentStatus::Finished || record.device != device ||
            record.modelPath != modelPath || drafts(record)) {
            continue;
        }
        const Measurement* decode = nativeMetric(record, "decode_tokens_per_s");
        const Measurement* prefill = nativeMetric(record, "prefill_tokens_per_s");
        const Measurement* bytes = nativeMetric(record, "weight_bytes");
        const Measurement* parameters = nativeMetric(record, "parameters");
        if (decode && bytes) {
            const double rate = decode->value * std::max(0.0, bytes->value - original.unreadBytes);
            if (rate > roofs.bytesPerSecond) {
                roofs.bytesPerSecond = rate;
                roofs.bytesFrom = record.id;
            }
        }
        if (prefill && parameters) {
            const double rate =
                2 * prefill->value * std::max(0.0, parameters->value - original.unreadWeights);
            if (rate > roofs.flopsPerSecond) {
                roofs.flopsPerSecond = rate;
                roofs.flopsFrom = record.id;
            }
        }
    }
    return roofs;
}

std::vector<RooflinePoint> rooflinePoints(const TokenCost& cost, const DeviceRoofs& roofs,
                                          const ExperimentRecord& record,
                                          const MeasureOptions& measure) {
    std::vector<RooflinePoint> points;
    if (!roofs.known() || !(cost.weightBytes > 0)) {
        return points;
    }
    const double prompt = std::max(1, measure.promptTokens);
    const auto add = [&](RooflinePoint::Phase phase, double flops, double bytes,
                         const char* metric) {
        RooflinePoint point;
        point.phase = phase;
        point.flopsPerToken = flops;
        point.intensity = flops / bytes;
        point.memoryBound = point.intensity < roofs.ridge();
        point.predicted = std::min(roofs.flopsPerSecond / flops, roofs.bytesPerSecond / bytes);
        const auto found = record.metrics.find(metric);
        if (found != record.metrics.end() && found->second.value > 0 && !drafts(record)) {
            point.measured = found->second.value;
            point.native = found->second.native;
        }
        points.push_back(point);
    };
    // All tokens of a prompt share one pass over the weights; each sees half of the prompt.
    add(RooflinePoint::Phase::Prefill, cost.weightFlops + cost.contextFlops * prompt / 2,
        cost.weightBytes / prompt + cost.contextBytes, "prefill_tokens_per_s");
    const double context = prompt + measure.newTokens / 2.0;
    add(RooflinePoint::Phase::Decode, cost.weightFlops + cost.contextFlops * context,
        cost.weightBytes + cost.contextBytes * context, "decode_tokens_per_s");
    return points;
}

}  // namespace fettle::ui
