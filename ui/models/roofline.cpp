#include "ui/models/roofline.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

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

struct Lengths {
    double prompt = 0;
    double answer = 0;
    double context() const { return prompt + answer / 2; }  ///< at the middle of the answer
};

/// What a speed was measured with: its protocol tells, also where a model's context cut the wish.
Lengths lengthsOf(const Measurement* speed, const MeasureOptions& wish) {
    Lengths lengths{static_cast<double>(std::max(1, wish.promptTokens)),
                    static_cast<double>(std::max(0, wish.newTokens))};
    int prompt = 0;
    int answer = 0;
    if (speed &&
        std::sscanf(speed->protocol.c_str(), "speed prompt=%d new=%d", &prompt, &answer) == 2 &&
        prompt > 0 && answer > 0) {
        lengths = {static_cast<double>(prompt), static_cast<double>(answer)};
    }
    return lengths;
}

/// Operations and bytes per token of a model of these sizes.
struct PhaseCost {
    double flops = 0;
    double bytes = 0;
};
PhaseCost prefillCost(const TokenCost& cost, double weightBytes, double weightFlops,
                      const Lengths& lengths) {
    // All tokens of a prompt share one pass over the weights; each sees half of the prompt.
    return {weightFlops + cost.contextFlops * lengths.prompt / 2,
            weightBytes / lengths.prompt + cost.contextBytes};
}
PhaseCost decodeCost(const TokenCost& cost, double weightBytes, double weightFlops,
                     const Lengths& lengths) {
    return {weightFlops + cost.contextFlops * lengths.context(),
            weightBytes + cost.contextBytes * lengths.context()};
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

DeviceRoofs measuredRoofs(const ExperimentList& records, const std::string& device,
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
        const double flops =
            parameters ? 2 * std::max(0.0, parameters->value - original.unreadWeights) : 0;
        if (decode && bytes) {
            // What the weights take in memory is what is read: tables that are only looked up in
            // do not count there.
            const double rate =
                decode->value *
                decodeCost(original, bytes->value, flops, lengthsOf(decode, {})).bytes;
            if (rate > roofs.bytesPerSecond) {
                roofs.bytesPerSecond = rate;
                roofs.bytesFrom = record.id;
            }
        }
        if (prefill && flops > 0) {
            const double rate =
                prefill->value * prefillCost(original, 0, flops, lengthsOf(prefill, {})).flops;
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
    const auto find = [&](const char* metric) -> const Measurement* {
        const auto found = record.metrics.find(metric);
        return found == record.metrics.end() || !(found->second.value > 0) ? nullptr
                                                                           : &found->second;
    };
    const auto add = [&](RooflinePoint::Phase phase, const PhaseCost& one,
                         const Measurement* speed) {
        RooflinePoint point;
        point.phase = phase;
        point.flopsPerToken = one.flops;
        point.intensity = one.flops / one.bytes;
        point.memoryBound = point.intensity < roofs.ridge();
        point.predicted =
            std::min(roofs.flopsPerSecond / one.flops, roofs.bytesPerSecond / one.bytes);
        if (speed && !drafts(record)) {
            point.measured = speed->value;
            point.native = speed->native;
        }
        points.push_back(point);
    };
    const Measurement* prefill = find("prefill_tokens_per_s");
    const Measurement* decode = find("decode_tokens_per_s");
    add(RooflinePoint::Phase::Prefill,
        prefillCost(cost, cost.weightBytes, cost.weightFlops, lengthsOf(prefill, measure)),
        prefill);
    add(RooflinePoint::Phase::Decode,
        decodeCost(cost, cost.weightBytes, cost.weightFlops, lengthsOf(decode, measure)), decode);
    return points;
}

}  // namespace fettle::ui
