// A training run on a CUDA device: a DeviceNetwork with AdamW on what it holds.
#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "engine/core/error.h"
#include "engine/train/device_network.h"

namespace fettle {

namespace cuda = kernels::cuda;

namespace {

class DeviceTrainEngine : public TrainEngine {
public:
    DeviceTrainEngine(Network& network, const Network* teacher, const TrainEngineOptions& options,
                      CudaBackend& backend)
        : m_network(network),
          m_teacherNetwork(teacher),
          m_options(options),
          m_backend(backend),
          m_student(network, backend, options.checkpointing, options.bf16) {
        if (teacher)
            m_teacher.emplace(*teacher, backend, false, options.bf16);
    }

    std::string where() const override {
        return m_backend.device().id + " (" + m_backend.device().name + ")";
    }
    Network& network() override { return m_network; }
    const Network* teacher() const override { return m_teacherNetwork; }
    void fetch() override { m_student.copyOut(m_student.currentValues(), m_network.values()); }
    void load() override { m_student.load(); }

    LossSums accumulate(const TrainBatch& batch, const TrainLoss& loss, float scale,
                        RunControl* control) override {
        return m_student.accumulate(batch, loss, scale, m_teacher ? &*m_teacher : nullptr, control);
    }
    LossSums evaluate(const TrainBatch& batch, const TrainLoss& loss,
                      RunControl* control) override {
        return m_student.evaluate(batch, loss, m_teacher ? &*m_teacher : nullptr, control);
    }
    void eachLogits(
        const TrainBatch& batch, RunControl* control,
        const std::function<void(std::int64_t, std::int64_t, const float*)>& body) override {
        m_student.eachLogits(batch, control, body);
    }
    Optimizer::Report step(float learningRate) override;

    Moments moments() override {
        m_hostFirst.assign(m_network.values().size(), 0.0F);
        m_hostSecond.assign(m_network.values().size(), 0.0F);
        if (m_first.data()) {
            m_student.copyOut(m_first.data(), m_hostFirst);
            m_student.copyOut(m_second.data(), m_hostSecond);
        }
        return {m_hostFirst, m_hostSecond, m_steps};
    }
    void restore(std::vector<float> first, std::vector<float> second, std::int64_t steps) override {
        if (first.size() != m_network.values().size() || second.size() != first.size())
            throw EngineError(ErrorKind::BadInput, "the moments are those of another model");
        makeMoments();
        m_student.copyIn(first, m_first.data());
        m_student.copyIn(second, m_second.data());
        m_steps = steps;
    }
    void keepZeros(std::vector<ZeroMask> masks) override;

private:
    struct Mask {
        std::int64_t place = 0, count = 0;
        DeviceArray<std::uint8_t> zero;
    };
    /// Zeros at first.
    void makeMoments() {
        m_first.fit(m_backend, m_student.size());
        m_second.fit(m_backend, m_student.size());
    }
    double gradientNorm();
    void clearMasked();

    Network& m_network;
    const Network* m_teacherNetwork;
    TrainEngineOptions m_options;
    CudaBackend& m_backend;
    DeviceNetwork m_student;
    std::optional<DeviceNetwork> m_teacher;
    DeviceArray<float> m_first, m_second;
    DeviceArray<double> m_squares;
    std::vector<float> m_hostFirst, m_hostSecond;
    std::vector<Mask> m_masks;
    std::int64_t m_steps = 0;
};

double DeviceTrainEngine::gradientNorm() {
    double* const room = m_squares.fit(m_backend, cuda::kSquareParts + 1);
    double* const sum = room + cuda::kSquareParts;
    m_backend.check(
        cuda::sumSquares(m_student.grads(), m_student.size(), room, sum, m_backend.stream()),
        "adding up the gradient");
    double squares = 0;
    m_backend.download(&squares, sum, sizeof squares);
    return std::sqrt(squares);
}

Optimizer::Report DeviceTrainEngine::step(float learningRate) {
    m_student.finishGradients();
    Optimizer::Report report;
    report.gradientNorm = gradientNorm();
    if (!std::isfinite(report.gradientNorm)) {
        report.skipped = true;
        m_student.zeroGrads();
        return report;
    }
    makeMoments();
    ++m_steps;
    const OptimizerOptions& o = m_options.optimizer;
    const double t = static_cast<double>(m_steps);
    cuda::AdamWStep step;
    step.beta1 = o.beta1;
    step.beta2 = o.beta2;
    step.epsilon = o.epsilon;
    step.gradScale = clippingOf(o, report.gradientNorm);
    step.correction1 = static_cast<float>(1 - std::pow(static_cast<double>(o.beta1), t));
    step.correction2 = static_cast<float>(1 - std::pow(static_cast<double>(o.beta2), t));
    float* const values = m_student.values();
    const std::vector<TrainParameter>& parameters = m_network.parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        const std::int64_t at = m_student.placeOf(i);
        step.count = parameters[i].count();
        step.decay = parameters[i].decays ? o.decay : 0;
        step.learningRate = learningRate * parameters[i].rateScale;
        m_backend.check(cuda::adamw(values + at, m_student.grads() + at, m_first.data() + at,
                                    m_second.data() + at, step, m_backend.stream()),
                        "updating weights");
    }
    clearMasked();
    m_student.zeroGrads();
    return report;
}

void DeviceTrainEngine::keepZeros(std::vector<ZeroMask> masks) {
    m_masks.clear();
    for (const ZeroMask& mask : masks) {
        const std::vector<std::uint8_t> bytes(mask.zero.begin(), mask.zero.end());
        Mask held;
        held.place = m_student.placeOfValue(mask.offset);
        held.count = static_cast<std::int64_t>(bytes.size());
        m_backend.upload(held.zero.fit(m_backend, held.count), bytes.data(), bytes.size());
        m_masks.push_back(std::move(held));
    }
    clearMasked();
}

void DeviceTrainEngine::clearMasked() {
    if (m_masks.empty())
        return;
    float* const values = m_student.values();
    for (const Mask& mask : m_masks)
        m_backend.check(cuda::clearMasked(values + mask.place, mask.zero.data(), mask.count,
                                          m_backend.stream()),
                        "clearing masked weights");
}

class CudaTrainDevice : public TrainDevice {
public:
    explicit CudaTrainDevice(CudaBackend& backend) : m_backend(backend) {}
    std::string whyNot(const ModelConfig& config, const TrainLoss& loss) const override {
        return DeviceNetwork::whyNot(config, loss);
    }
    std::unique_ptr<TrainEngine> makeTrainEngine(Network& network, const Network* teacher,
                                                 const TrainEngineOptions& options) override {
        return std::make_unique<DeviceTrainEngine>(network, teacher, options, m_backend);
    }

private:
    CudaBackend& m_backend;
};

}  // namespace

std::unique_ptr<TrainDevice> cudaTrainDevice(Backend& backend) {
    auto* const cuda = dynamic_cast<CudaBackend*>(&backend);
    return cuda ? std::make_unique<CudaTrainDevice>(*cuda) : nullptr;
}

}  // namespace fettle
