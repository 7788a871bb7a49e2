#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "engine/core/random.h"
#include "engine/quant/rtn.h"
#include "engine/technique/technique.h"

namespace fettle {

double ModelFacts::bytes() const {
    double sum = 0;
    for (const WeightFacts& weight : weights)
        sum += weight.bytes;
    return sum;
}

double ModelFacts::elements() const {
    double sum = 0;
    for (const WeightFacts& weight : weights)
        sum += static_cast<double>(weight.rows * weight.cols);
    return sum;
}

namespace {

// The embedding takes part in each token only where it doubles as the head.
bool active(const WeightFacts& weight, const ModelConfig& config) {
    return weight.rows > 1 && weight.name != "position_embed.weight" &&
           (weight.name != "embed.weight" || config.tiedEmbeddings);
}

}  // namespace

double ModelFacts::activeElements() const {
    double sum = 0;
    for (const WeightFacts& weight : weights)
        sum += active(weight, config) ? static_cast<double>(weight.rows * weight.cols) : 0;
    return sum;
}

double ModelFacts::activeBytes() const {
    double sum = 0;
    for (const WeightFacts& weight : weights)
        sum += active(weight, config) ? weight.bytes : 0;
    return sum;
}

ModelFacts factsOf(const Model& model) {
    ModelFacts facts;
    facts.config = model.config;
    for (const auto& [name, weight] : model.weights) {
        const Shape shape = weight.shape();
        const std::int64_t cols = shape.empty() ? 1 : shape.back();
        facts.weights.push_back({name, cols > 0 ? weight.elements() / cols : 0, cols,
                                 static_cast<double>(weight.bytes())});
    }
    return facts;
}

namespace {

Tensor randomMatrix(std::int64_t rows, std::int64_t cols) {
    Tensor tensor = Tensor::allocate(DType::F32, {rows, cols});
    Philox random(1);
    for (std::int64_t i = 0; i < rows * cols; ++i)
        tensor.mutableAs<float>()[i] = static_cast<float>(random.uniform() - 0.5);
    return tensor;
}

template <typename Work>
double bestSeconds(int repeats, const Work& work) {
    double best = 1e30;
    for (int i = 0; i < repeats; ++i) {
        const double start = steadySeconds();
        work();
        best = std::min(best, steadySeconds() - start);
    }
    return std::max(best, 1e-9);
}

MachineSpeed measureMachine(Backend& backend, kernels::WorkerPool& pool) {
    constexpr std::int64_t kRows = 1024, kCols = 1024, kTokens = 128;
    const Weight weight{randomMatrix(kRows, kCols)};
    const Tensor values = randomMatrix(kTokens, kCols);
    const std::unique_ptr<DeviceBuffer> input =
        uploaded(backend, {values.as<float>(), static_cast<std::size_t>(kTokens * kCols)});
    const auto* x = static_cast<const float*>(input->data());
    const std::unique_ptr<DeviceWeight> prepared = backend.prepareWeight(weight.view());
    const std::unique_ptr<DeviceBuffer> y =
        backend.allocate(static_cast<std::size_t>(kTokens * kRows) * sizeof(float));
    const LinearTarget target{prepared.get(), static_cast<float*>(y->data()), kRows, nullptr,
                              false};

    MachineSpeed speed;
    const double prefill = bestSeconds(3, [&] {
        backend.linear(x, kTokens, kCols, kCols, {&target, 1});
        backend.synchronize();
    });
    speed.multiplyRate = static_cast<double>(kTokens * kRows * kCols) / prefill;
    // Small enough to measure quickly, so this sits in a cache; memory itself is slower by about a
    // factor of three.
    const double decode = bestSeconds(5, [&] {
        backend.linear(x, 1, kCols, kCols, {&target, 1});
        backend.synchronize();
    });
    speed.readRate = static_cast<double>(kRows * kCols) * sizeof(float) / decode / 3;

    NullProgress sink;
    RunControl control({}, nullptr, sink);
    RtnOptions options;
    options.scheme = *findQuantScheme("int4-g32");
    const Weight small{randomMatrix(64, kCols)};
    speed.quantizeRate =
        64 * kCols / bestSeconds(2, [&] { quantizeRtn("probe", small, options, pool, control); });
    return speed;
}

}  // namespace

const MachineSpeed& machineSpeed(Backend& backend, kernels::WorkerPool& pool) {
    static std::mutex mutex;
    static std::map<std::string, MachineSpeed> measured;  // by device
    const std::lock_guard lock(mutex);
    const std::string& device = backend.device().id;
    const auto known = measured.find(device);
    return known != measured.end()
               ? known->second
               : measured.emplace(device, measureMachine(backend, pool)).first->second;
}

}  // namespace fettle
