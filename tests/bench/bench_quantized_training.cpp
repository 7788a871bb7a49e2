// What a training step costs more when the network computes in the numbers it is deployed with:
// bench_quantized_training MODEL [scheme int4-g32] [rows 8] [context 256] [steps 10] [threads 0].
// A plain and a quantized network take turns on the same random tokens; medians.
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "engine/core/random.h"
#include "engine/quant/rtn.h"
#include "engine/train/optimizer.h"

namespace {

using namespace fettle;

Model quantized(Model model, const std::string& scheme, kernels::WorkerPool& pool) {
    const std::optional<QuantScheme> found = findQuantScheme(scheme);
    if (!found)
        throw EngineError(ErrorKind::Usage, "unknown scheme " + scheme);
    NullProgress sink;
    RunControl control({}, nullptr, sink);
    RtnOptions options;
    options.scheme = *found;
    options.search = ScaleSearch::Absmax;
    for (const std::string& name : linearWeightNames(model.config))
        if (model.has(name) && name != "lm_head.weight")
            model.weights[name] =
                Weight(quantizeRtn(name, model.weight(name), options, pool, control).tensor);
    return model;
}

double secondsOfStep(Network& network, Optimizer& optimizer, const TrainBatch& batch) {
    const double start = steadySeconds();
    network.accumulate(batch, {}, 1.0F / static_cast<float>(batch.scored()), nullptr, nullptr);
    optimizer.step(1e-5F);
    return steadySeconds() - start;
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fprintf(stderr,
                     "usage: bench_quantized_training MODEL [scheme] [rows] [context] [steps] "
                     "[threads]\n");
        return 2;
    }
    const auto number = [&](int i, int otherwise) {
        return argc > i ? std::atoi(argv[i]) : otherwise;
    };
    const int rows = number(3, 8), context = number(4, 256), steps = number(5, 10);
    try {
        const Model model = loadModel(argv[1]);
        kernels::WorkerPool pool(number(6, 0));
        const Model start = quantized(model, argc > 2 ? argv[2] : "int4-g32", pool);
        Network plain(model, pool), trained(start, pool);
        trained.quantize(start, {}, {});
        Optimizer plainSteps(plain, {}, pool), trainedSteps(trained, {}, pool);
        Philox random(1);
        std::vector<double> ratios, plainSeconds;
        for (int step = 0; step < steps + 2; ++step) {
            TrainBatch batch;
            std::vector<std::int32_t> ids(static_cast<std::size_t>(context));
            for (int r = 0; r < rows; ++r) {
                for (std::int32_t& id : ids)
                    id = static_cast<std::int32_t>(
                        random.below(static_cast<std::uint64_t>(model.config.vocabularySize)));
                batch.add(ids);
            }
            const double a = secondsOfStep(plain, plainSteps, batch),
                         b = secondsOfStep(trained, trainedSteps, batch);
            if (step < 2)  // the first ones reserve memory
                continue;
            ratios.push_back(b / a);
            plainSeconds.push_back(a);
        }
        std::printf("{\"plain_step_ms\": %.1f, \"quantized_over_plain\": %.3f}\n",
                    1000 * median(plainSeconds), median(ratios));
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
