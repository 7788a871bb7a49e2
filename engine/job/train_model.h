// Trains a model on a text and writes it: from random weights, or on from what there is.
#pragma once

#include <string>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/core/run_control.h"
#include "engine/data/data_loader.h"
#include "engine/experiment/run_values.h"
#include "engine/train/trainer.h"

namespace fettle {

struct TrainRequest {
    /// A model (folder, .gguf file, "demo") to train on from; or the config.json of one, to start
    /// from random weights.
    std::string model;
    bool fresh = false;     ///< random weights although `model` has some
    std::string tokenizer;  ///< folder of tokenizer.json; empty: the model's own
    std::string teacher;    ///< model to distil from; empty: none
    std::string out;        ///< folder to write; OUT.checkpoints beside it while it runs
    std::string type;       ///< "f32", "f16", "bf16"; empty: as the model has it
    std::uint64_t seed = 1;
    DataOptions data;
    TrainerOptions trainer;
};

struct TrainReport {
    TrainOutcome outcome;
    std::vector<SeriesPoint> series;
    std::uint64_t parameters = 0;
    std::uint64_t peakBytes = 0;
    std::string path;    ///< of the model that was written
    std::string device;  ///< "cpu", or a device by id and name
};
nlohmann::json toJson(const TrainReport& report);

/// The same command goes on where a killed one stopped. Throws EngineError: Usage for options that
/// contradict each other and for an `out` that must not be replaced, BadInput for files, Io.
TrainReport trainModel(const TrainRequest& request, Backend& backend, RunControl& control);

}  // namespace fettle
