#include "engine/eval/roofline_prediction.h"

#include <algorithm>

#include "engine/backend/planning_backend.h"
#include "engine/model/transformer.h"

namespace fettle {

namespace {

void addTo(KernelPrediction& sum, const KernelWork& work, const std::vector<DevicePeaks>& devices) {
    ++sum.launches;
    sum.bytes += work.bytes();
    sum.operations += work.operations();
    sum.seconds.resize(devices.size());
    for (std::size_t d = 0; d < devices.size(); ++d)
        sum.seconds[d] += predictedSeconds(work, devices[d]);
}

PassPrediction predictPass(const std::vector<KernelWork>& launches, std::int64_t tokens,
                           std::int64_t past, const std::vector<DevicePeaks>& devices) {
    PassPrediction pass;
    pass.tokens = tokens;
    pass.past = past;
    pass.total.kernel = "total";
    for (const KernelWork& work : launches) {
        const auto known =
            std::find_if(pass.kernels.begin(), pass.kernels.end(),
                         [&](const KernelPrediction& k) { return k.kernel == work.kernel; });
        if (known == pass.kernels.end()) {
            pass.kernels.push_back({work.kernel, 0, 0, 0, {}});
            addTo(pass.kernels.back(), work, devices);
        } else {
            addTo(*known, work, devices);
        }
        addTo(pass.total, work, devices);
    }
    std::stable_sort(pass.kernels.begin(), pass.kernels.end(),
                     [](const KernelPrediction& a, const KernelPrediction& b) {
                         return a.seconds.front() > b.seconds.front();
                     });
    return pass;
}

struct Launches {
    std::vector<KernelWork> prompt, decode;
    bool operator==(const Launches&) const = default;
};

Launches launchesOn(int capability, const Model& model, std::int64_t promptTokens,
                    RunControl& control, std::uint64_t& deviceBytes) {
    PlanningBackend backend(capability);
    Transformer transformer(model, backend, &control);
    KvCache cache = transformer.makeCache(promptTokens + 1);
    const std::vector<std::int32_t> ids(static_cast<std::size_t>(promptTokens), 0);
    Launches launches;
    backend.take();
    transformer.forward(ids, cache, &control);
    transformer.lastLogits();
    launches.prompt = backend.take();
    transformer.forward(std::vector<std::int32_t>{0}, cache, &control);
    transformer.lastLogits();
    launches.decode = backend.take();
    deviceBytes = *backend.peakBytes();
    return launches;
}

}  // namespace

RooflinePrediction predictRoofline(const Model& model, std::int64_t promptTokens,
                                   RunControl& control) {
    RooflinePrediction prediction;
    std::vector<Launches> known;
    for (const DevicePeaks& device : knownPeaks()) {
        Launches launches =
            launchesOn(device.capability, model, promptTokens, control, prediction.deviceBytes);
        const auto same = std::find(known.begin(), known.end(), launches);
        if (same == known.end()) {
            known.push_back(std::move(launches));
            prediction.plans.push_back({{device}, {}, {}});
        } else {
            prediction.plans[static_cast<std::size_t>(same - known.begin())].devices.push_back(
                device);
        }
    }
    for (std::size_t p = 0; p < known.size(); ++p) {
        PlanPrediction& plan = prediction.plans[p];
        plan.prompt = predictPass(known[p].prompt, promptTokens, 0, plan.devices);
        plan.decode = predictPass(known[p].decode, 1, promptTokens, plan.devices);
    }
    return prediction;
}

}  // namespace fettle
