// What computes the steps of a training run: the CPU, by Network and Optimizer, or a device that
// holds parameters, gradients and moments in its own memory. One thread at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/train/network.h"
#include "engine/train/optimizer.h"

namespace fettle {

struct TrainEngineOptions {
    OptimizerOptions optimizer;
    bool checkpointing = false;  ///< of activations
    bool bf16 = false;           ///< products of bfloat16, of the teacher too
};

/// Values of a parameter that stay 0.
struct ZeroMask {
    std::int64_t offset = 0;  ///< of the first, in Network::values()
    std::vector<bool> zero;   ///< for each from there on
};

class TrainEngine {
public:
    virtual ~TrainEngine() = default;

    /// "cpu", or a device by id and name.
    virtual std::string where() const = 0;
    bool onCpu() const { return where() == "cpu"; }
    /// What to tell somebody who trains with these options; empty: nothing.
    virtual std::string advice() const { return {}; }
    /// The network that learns. Its values are those of the engine after fetch() only, and what is
    /// changed there counts after load().
    virtual Network& network() = 0;
    virtual const Network* teacher() const = 0;  ///< null: none
    virtual void fetch() = 0;
    virtual void load() = 0;

    /// As Network::accumulate and evaluate, with the engine's teacher.
    virtual LossSums accumulate(const TrainBatch& batch, const TrainLoss& loss, float scale,
                                RunControl* control) = 0;
    virtual LossSums evaluate(const TrainBatch& batch, const TrainLoss& loss,
                              RunControl* control) = 0;
    /// As Network::eachLogits, of the engine's network; logits are memory of the host.
    virtual void eachLogits(
        const TrainBatch& batch, RunControl* control,
        const std::function<void(std::int64_t, std::int64_t, const float*)>& body) = 0;
    /// As Optimizer::step.
    virtual Optimizer::Report step(float learningRate) = 0;

    /// Of the optimizer, in the order of Network::values(); valid until the engine computes again.
    struct Moments {
        std::span<const float> first, second;
        std::int64_t steps = 0;
    };
    virtual Moments moments() = 0;
    /// Throws EngineError(BadInput) for moments of another size.
    virtual void restore(std::vector<float> first, std::vector<float> second,
                         std::int64_t steps) = 0;

    /// Sets the masked values to 0, now and after every step.
    virtual void keepZeros(std::vector<ZeroMask> masks) = 0;
};

/// How effort of a run is labelled.
inline std::string trainingProtocol(const TrainEngine& engine) {
    return "trained on " + engine.where();
}

/// A device that trains.
class TrainDevice {
public:
    virtual ~TrainDevice() = default;
    /// Why the device does not train a model with this loss; empty: it does.
    virtual std::string whyNot(const ModelConfig& config, const TrainLoss& loss) const = 0;
    /// `network` and `teacher`, which may be null, are as they shall be: quantized, if at all. Both
    /// must outlive the engine.
    virtual std::unique_ptr<TrainEngine> makeTrainEngine(Network& network, const Network* teacher,
                                                         const TrainEngineOptions& options) = 0;
};

/// The device of a backend as one that trains; null where it is none.
using TrainDeviceOf = std::unique_ptr<TrainDevice> (*)(Backend& backend);
/// That of this build; null where it has no kernels for devices. A program that brings kernels of
/// its own, like the emulator's tests, sets it.
TrainDeviceOf& trainDeviceOf();

/// Where a run trains, decided and said once: on the device of `backend`, or, with a warning that
/// begins with `what` and gives the reason where that is a device, on the CPU. `reason`, if not
/// empty, is one to stay on the CPU that the device does not know of.
class TrainPlace {
public:
    TrainPlace(const std::string& what, Backend& backend,
               const std::vector<const ModelConfig*>& models, const TrainLoss& loss,
               const std::string& reason, RunControl& control);
    std::unique_ptr<TrainEngine> engine(Network& network, Network* teacher,
                                        const TrainEngineOptions& options) const;
    bool onCpu() const { return !m_device; }

private:
    kernels::WorkerPool& m_pool;
    std::unique_ptr<TrainDevice> m_device;
};

/// `teacher` may be null.
std::unique_ptr<TrainEngine> makeCpuTrainEngine(Network& network, Network* teacher,
                                                const TrainEngineOptions& options,
                                                kernels::WorkerPool& pool);

}  // namespace fettle
