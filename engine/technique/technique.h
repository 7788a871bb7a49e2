// A technique takes a model and gives a model back. It never touches the database or the screen.
// Adding one is adding a file pair and one line in registry.cpp.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/core/run_control.h"
#include "engine/experiment/run_values.h"
#include "engine/experiment/technique_schema.h"
#include "engine/model/model.h"
#include "kernels/ops/worker_pool.h"

namespace fettle {

/// Shape and cost of each weight, without the weights: what estimates are made from.
struct WeightFacts {
    std::string name;  ///< canonical
    std::int64_t rows = 0;
    std::int64_t cols = 0;
    double bytes = 0;
};
struct ModelFacts {
    std::vector<WeightFacts> weights;
    ModelConfig config;
    double bytes() const;
    double elements() const;
    /// Weights multiplied per token: all linears and the head.
    double activeElements() const;
    double activeBytes() const;
};
ModelFacts factsOf(const Model& model);

/// Rates of this machine, measured once per process in a few milliseconds. Used for estimates only.
struct MachineSpeed {
    double multiplyRate = 1e10;  ///< multiply-adds per second of a prefill-like product
    double readRate = 1e10;      ///< bytes per second of a decode-like product
    double quantizeRate = 1e7;   ///< weights per second of an int4 scale search
};
const MachineSpeed& machineSpeed(Backend& backend, kernels::WorkerPool& pool);

/// What a step will turn the model into, and what it costs.
struct StepEstimate {
    ModelFacts output;
    double seconds = 0;
    double peakBytes = 0;
    std::vector<std::string> problems;
    std::vector<std::string> notes;
};

struct TechniqueContext {
    const Model& original;  ///< before the first step of the recipe
    Backend& backend;
    kernels::WorkerPool& pool;
    const RunInputs& inputs;
    const MeasureOptions& measure;
    const nlohmann::json& params;  ///< validated, defaults filled in
    std::uint64_t seed = 1;
    RunControl& control;
    std::vector<LayerMetric>& layerMetrics;
    std::vector<Measurement>& metrics;  ///< effort: tokens of data used, ...
    std::string checkpointFolder = {};  ///< of this step, for long work; empty: keep none
    std::string cacheFolder = {};       ///< what later runs may use again; empty: keep nothing
    /// What quantized weights of the recipe were before, changed like the rest of the model (scaled
    /// inputs): ptq fills it in for a later step that trains. Null: none does.
    std::map<std::string, Weight>* unquantized = nullptr;
};

class Technique {
public:
    virtual ~Technique() = default;
    virtual const TechniqueDescriptor& descriptor() const = 0;
    virtual StepEstimate estimate(const ModelFacts& model, const nlohmann::json& params,
                                  const RunInputs& inputs, const MachineSpeed& speed) const = 0;
    virtual Model apply(Model model, TechniqueContext& context) const = 0;
    /// Goes on from the float values of weights that a step before has quantized.
    virtual bool trainsQuantized() const { return false; }
};

/// All techniques, in the order in which users climb them.
const std::vector<const Technique*>& techniques();
const Technique* findTechnique(std::string_view id);
std::vector<TechniqueDescriptor> techniqueDescriptors();

/// Whether a canonical or file tensor name matches one of `patterns`: globs with * and ?, or
/// regular expressions after "re:".
bool matchesAny(const std::string& name, const std::vector<std::string>& patterns);

}  // namespace fettle
