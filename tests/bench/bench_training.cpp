// Tokens per second of a training step: bench_training MODEL [rows 8] [context 256] [steps 10]
// [threads 0] [f32|bf16] [device cpu]. MODEL may be the config.json of a shape: random weights.
// Random tokens, AdamW, weights in float32; the median step. A device that does not train is said
// as "skipped". compare_torch_train.py runs it beside PyTorch.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "engine/backend/backend.h"
#include "engine/core/error.h"
#include "engine/core/random.h"
#include "engine/eval/memory_probe.h"
#include "engine/io/strict_json.h"
#include "engine/model/model_initializer.h"
#include "engine/train/train_engine.h"

namespace {

/// Null, having said why, where there is no such device.
std::unique_ptr<fettle::Backend> benchBackend(const std::string& device, int threads) {
    try {
        return fettle::makeBackend(device, threads);
    } catch (const fettle::EngineError& error) {
        std::printf("%s\n", nlohmann::json({{"skipped", error.what()}}).dump().c_str());
        return nullptr;
    }
}

}  // namespace

int main(int argc, char** argv) {
    using namespace fettle;
    if (argc < 2) {
        std::fprintf(stderr,
                     "usage: bench_training MODEL [rows] [context] [steps] [threads] "
                     "[f32|bf16] [device]\n");
        return 2;
    }
    const auto number = [&](int i, int otherwise) {
        return argc > i ? std::atoi(argv[i]) : otherwise;
    };
    const int rows = number(2, 8), context = number(3, 256), steps = number(4, 10);
    try {
        const std::string path = argv[1];
        Model model = path.ends_with(".json")
                          ? randomModel(modelConfigFromHuggingFace(readJsonObject(path), path),
                                        nullptr, 1, DType::F32)
                          : loadModel(path);
        const std::unique_ptr<Backend> backend =
            argc > 7 ? benchBackend(argv[7], number(5, 0)) : makeBackend("cpu", number(5, 0));
        if (!backend)
            return 0;
        NullProgress sink;
        RunControl control({}, nullptr, sink);
        const TrainPlace place("bench_training", *backend, {&model.config}, {}, {}, control);
        Network network(model, backend->pool());
        TrainEngineOptions options;
        options.bf16 = argc > 6 && std::string_view(argv[6]) == "bf16";
        const std::int64_t vocabulary = model.config.vocabularySize;
        model = {};  // the network has its own copy
        const std::unique_ptr<TrainEngine> engine = place.engine(network, nullptr, options);
        backend->resetPeak();
        Philox random(1);
        std::vector<double> seconds;
        for (int step = 0; step < steps + 2; ++step) {
            TrainBatch batch;
            std::vector<std::int32_t> ids(static_cast<std::size_t>(context));
            for (int r = 0; r < rows; ++r) {
                for (std::int32_t& id : ids)
                    id = static_cast<std::int32_t>(
                        random.below(static_cast<std::uint64_t>(vocabulary)));
                batch.add(ids);
            }
            const double start = steadySeconds();
            engine->accumulate(batch, {}, 1.0F / static_cast<float>(batch.scored()), nullptr);
            engine->step(1e-5F);
            backend->synchronize();
            if (step >= 2)  // the first ones reserve memory
                seconds.push_back(steadySeconds() - start);
        }
        std::sort(seconds.begin(), seconds.end());
        std::printf(
            "{\"tokens_per_s\": %.0f, \"peak_bytes\": %llu}\n",
            rows * context / seconds[seconds.size() / 2],
            static_cast<unsigned long long>(backend->peakBytes().value_or(peakResidentBytes())));
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
