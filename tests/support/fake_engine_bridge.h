// An engine for tests of the window: remembers what is posted and answers when told to.
#pragma once

#include <map>
#include <utility>
#include <vector>

#include "ui/bridge/engine_bridge.h"

namespace fettle::test {

/// A technique with one parameter of every type, and one that shows only for a value of another.
inline TechniqueDescriptor everyParameterType() {
    const auto parameter = [](const char* name, ParameterType type, nlohmann::json value) {
        ParameterSchema schema;
        schema.name = name;
        schema.title = std::string("The ") + name;
        schema.type = type;
        schema.defaultValue = std::move(value);
        schema.help = std::string("Help of ") + name;
        return schema;
    };
    TechniqueDescriptor technique;
    technique.id = "ptq";
    technique.title = "Quantize";
    technique.help = "Stores weights as small integers.";
    technique.usesCalibration = true;
    ParameterSchema scheme = parameter("scheme", ParameterType::Choice, "int8");
    scheme.choices = {{"int8", "8 bits", "Nearly lossless."},
                      {"int4-g32", "4 bits", "Half the size again."}};
    scheme.sweepable = true;
    ParameterSchema tokens = parameter("tokens", ParameterType::Int, 512);
    tokens.minimum = 1;
    tokens.maximum = 100000;
    tokens.unit = "tokens";
    tokens.sweepable = true;
    ParameterSchema ratio = parameter("ratio", ParameterType::Double, 0.5);
    ratio.minimum = 0;
    ratio.maximum = 1;
    ratio.sweepable = true;
    ratio.visibleWhen = VisibleWhen{"scheme", {"int4-g32"}};
    ParameterSchema bits = parameter("target_bits", ParameterType::Double, nullptr);
    technique.parameters = {
        scheme,
        tokens,
        ratio,
        bits,
        parameter("fast", ParameterType::Bool, false),
        parameter("note", ParameterType::Text, ""),
        parameter("exclude", ParameterType::PatternList, nlohmann::json::array()),
        parameter("codebook", ParameterType::File, "")};
    return technique;
}

inline TechniqueDescriptor trainingTechnique() {
    TechniqueDescriptor technique;
    technique.id = "qat";
    technique.title = "Train quantized";
    technique.needsTrainingText = true;
    technique.needsTeacher = true;
    return technique;
}

class FakeEngineBridge : public ui::EngineBridge {
public:
    explicit FakeEngineBridge(QObject* parent = nullptr)
        : EngineBridge(parent), m_techniques{everyParameterType(), trainingTechnique()} {}

    JobId post(JobRequest request) override {
        posted.emplace_back(++m_last, std::move(request));
        return m_last;
    }
    void cancel(JobId job) override { cancelled.push_back(job); }
    void pause(JobId job) override { paused.push_back(job); }
    void resume(JobId job) override { resumed.push_back(job); }
    void finishEarly(JobId job) override { finishedEarly.push_back(job); }
    const std::vector<TechniqueDescriptor>& techniques() const override { return m_techniques; }
    std::vector<ui::DeviceInfo> devices() const override {
        return {{QStringLiteral("cpu"),
                 QStringLiteral("Test processor"),
                 QStringLiteral("AVX2"),
                 8ull << 30,
                 true,
                 {}},
                {QStringLiteral("cuda:0"), {}, {}, 0, false, QStringLiteral("no driver")}};
    }

    bool hasBfloat16() const override { return multipliesBfloat16; }
    void useBfloat16(bool use) override { usesBfloat16 = use; }

    /// What the window offers; to be set before the window is made.
    void setTechniques(std::vector<TechniqueDescriptor> techniques) {
        m_techniques = std::move(techniques);
    }
    /// Sends an event as if the engine had.
    void send(JobId job, JobEventBody body) {
        emit jobEvent({job, experimentOf(job), std::move(body)});
    }
    /// Requests of one type, in the order in which they were posted.
    template <typename Request>
    std::vector<std::pair<JobId, Request>> of() const {
        std::vector<std::pair<JobId, Request>> found;
        for (const auto& [job, request] : posted) {
            if (const auto* wanted = std::get_if<Request>(&request)) {
                found.emplace_back(job, *wanted);
            }
        }
        return found;
    }

    std::vector<std::pair<JobId, JobRequest>> posted;
    std::vector<JobId> cancelled;
    std::vector<JobId> paused;
    std::vector<JobId> resumed;
    std::vector<JobId> finishedEarly;
    bool multipliesBfloat16 = true;
    bool usesBfloat16 = false;

private:
    std::int64_t experimentOf(JobId job) const {
        for (const auto& [id, request] : posted) {
            if (const auto* run = std::get_if<RunRequest>(&request); run && id == job) {
                return run->experiment;
            }
        }
        return 0;
    }

    std::vector<TechniqueDescriptor> m_techniques;
    JobId m_last = 0;
};

/// A small report, as reading the demo model gives it.
inline ModelReport smallReport(const std::string& path) {
    ModelReport report;
    report.path = path;
    report.name = "small";
    report.format = "safetensors";
    report.architecture = "llama";
    report.parameters = 4'200'000;
    report.layers = 2;
    report.hiddenSize = 64;
    report.contextLength = 512;
    report.dtype = "BF16";
    report.fileBytes = 8'400'000;
    report.weightBytes = 8'400'000;
    report.bitsPerWeight = 16;
    report.tensors = {{"layers.10.w", "BF16", {64, 64}, 8192, 16},
                      {"layers.2.w", "F32", {64, 32}, 8192, 32},
                      {"embed", "BF16", {1000, 64}, 128000, 16}};
    return report;
}

}  // namespace fettle::test
