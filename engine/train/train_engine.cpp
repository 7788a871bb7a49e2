#include "engine/train/train_engine.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <utility>

#ifdef FETTLE_CUDA
#include "engine/train/device_network.h"
#endif

namespace fettle {

namespace {

/// How much longer products of bfloat16 take than those of float32 on this processor; measured in
/// some milliseconds. Intel's AVX512_BF16 multiplies as many pairs as its float32 units do single
/// factors, AMD's twice as many.
double timeOfBf16(kernels::WorkerPool& pool) {
    constexpr std::int64_t size = 384;
    constexpr int tries = 3;
    const std::vector<float> a(size * size, 1.0F);
    std::vector<float> c(a.size());
    kernels::GemmScratch scratch;
    double best[2] = {1e9, 1e9};
    for (int i = 0; i < 2 * tries; ++i) {
        const bool bf16 = i % 2 != 0;
        const double start = steadySeconds();
        kernels::gemm({kernels::GemmLayout::NT, size, size, size, a.data(), size, a.data(), size,
                       c.data(), size, false, bf16},
                      scratch, pool);
        best[bf16] = std::min(best[bf16], steadySeconds() - start);
    }
    return best[1] / best[0];
}

class CpuTrainEngine : public TrainEngine {
public:
    CpuTrainEngine(Network& network, Network* teacher, const TrainEngineOptions& options,
                   kernels::WorkerPool& pool)
        : m_network(network), m_teacher(teacher), m_options(options), m_pool(pool) {
        network.setCheckpointing(options.checkpointing);
        network.setBf16Products(options.bf16);
        if (teacher)
            teacher->setBf16Products(options.bf16);
    }

    std::string where() const override { return "cpu"; }
    std::string advice() const override {
        const double longer = m_options.bf16 ? timeOfBf16(m_pool) : 0;
        if (longer <= 1)
            return {};
        char text[160];
        std::snprintf(text, sizeof text,
                      "bf16: matrix products take %.2f times as long as in f32 on this "
                      "processor; f32 is faster here, and more exact",
                      longer);
        return text;
    }
    Network& network() override { return m_network; }
    const Network* teacher() const override { return m_teacher; }
    void fetch() override {}
    void load() override {}

    LossSums accumulate(const TrainBatch& batch, const TrainLoss& loss, float scale,
                        RunControl* control) override {
        optimizer();  // makes the gradients zero
        return m_network.accumulate(batch, loss, scale, m_teacher, control);
    }
    LossSums evaluate(const TrainBatch& batch, const TrainLoss& loss,
                      RunControl* control) override {
        return m_network.evaluate(batch, loss, m_teacher, control);
    }
    void eachLogits(
        const TrainBatch& batch, RunControl* control,
        const std::function<void(std::int64_t, std::int64_t, const float*)>& body) override {
        m_network.eachLogits(batch, control, body);
    }
    Optimizer::Report step(float learningRate) override {
        const Optimizer::Report report = optimizer().step(learningRate);
        clear();
        return report;
    }

    Moments moments() override {
        return {optimizer().firstMoments(), optimizer().secondMoments(), optimizer().steps()};
    }
    void restore(std::vector<float> first, std::vector<float> second, std::int64_t steps) override {
        optimizer().restore(std::move(first), std::move(second), steps);
    }
    void keepZeros(std::vector<ZeroMask> masks) override {
        m_masks = std::move(masks);
        clear();
    }

private:
    /// Made with the first gradient: validation needs no moments.
    Optimizer& optimizer() {
        if (!m_optimizer)
            m_optimizer.emplace(m_network, m_options.optimizer, m_pool);
        return *m_optimizer;
    }
    void clear() {
        for (const ZeroMask& mask : m_masks) {
            float* values = m_network.values().data() + mask.offset;
            for (std::size_t i = 0; i < mask.zero.size(); ++i)
                if (mask.zero[i])
                    values[i] = 0;
        }
    }

    Network& m_network;
    Network* m_teacher;
    TrainEngineOptions m_options;
    kernels::WorkerPool& m_pool;
    std::optional<Optimizer> m_optimizer;
    std::vector<ZeroMask> m_masks;
};

}  // namespace

TrainDeviceOf& trainDeviceOf() {
#ifdef FETTLE_CUDA
    static TrainDeviceOf of = cudaTrainDevice;
#else
    static TrainDeviceOf of = nullptr;
#endif
    return of;
}

TrainPlace::TrainPlace(const std::string& what, Backend& backend,
                       const std::vector<const ModelConfig*>& models, const TrainLoss& loss,
                       const std::string& reason, RunControl& control)
    : m_pool(backend.pool()) {
    if (backend.device().id == "cpu")
        return;
    const std::string name = backend.device().id + " (" + backend.device().name + ")";
    std::string problem = reason;
    std::unique_ptr<TrainDevice> device = trainDeviceOf() ? trainDeviceOf()(backend) : nullptr;
    if (!device)
        problem = "this device does not train";
    for (std::size_t i = 0; i < models.size() && problem.empty(); ++i)
        problem = device->whyNot(*models[i], loss);
    if (!problem.empty()) {
        control.warn(what + " trains on the CPU, not on " + name + ": " + problem);
        return;
    }
    control.info(what + " trains on " + name);
    m_device = std::move(device);
}

std::unique_ptr<TrainEngine> TrainPlace::engine(Network& network, Network* teacher,
                                                const TrainEngineOptions& options) const {
    return m_device ? m_device->makeTrainEngine(network, teacher, options)
                    : makeCpuTrainEngine(network, teacher, options, m_pool);
}

std::unique_ptr<TrainEngine> makeCpuTrainEngine(Network& network, Network* teacher,
                                                const TrainEngineOptions& options,
                                                kernels::WorkerPool& pool) {
    return std::make_unique<CpuTrainEngine>(network, teacher, options, pool);
}

}  // namespace fettle
