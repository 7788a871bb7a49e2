// What a distillation step costs less when the teacher's predictions come from disk:
// bench_cached_teacher MODEL TEXT [top 64] [context 128] [batch tokens 1024] [steps 10] [threads
// 0]. MODEL teaches a copy of itself; the two kinds of step take turns on the same tokens; medians.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "engine/backend/cpu_backend.h"
#include "engine/data/data_loader.h"
#include "engine/distill/teacher_cache.h"
#include "engine/train/train_engine.h"

int main(int argc, char** argv) {
    using namespace fettle;
    if (argc < 3) {
        std::fprintf(stderr,
                     "usage: bench_cached_teacher MODEL TEXT [top] [context] [batch tokens] "
                     "[steps] [threads]\n");
        return 2;
    }
    const auto number = [&](int i, int otherwise) {
        return argc > i ? std::atoi(argv[i]) : otherwise;
    };
    const std::filesystem::path folder =
        std::filesystem::temp_directory_path() /
        ("bench_cached_teacher." + std::to_string(static_cast<long>(steadySeconds() * 1e6)));
    int status = 0;
    try {
        NullProgress sink;
        RunControl control({}, nullptr, sink);
        const Model model = loadModel(argv[1]);
        DataOptions options;
        options.path = argv[2];
        options.context = number(4, 128);
        options.batchTokens = number(5, 1024);
        DataLoader data(model.tokenizer, options, control);
        kernels::WorkerPool pool(number(7, 0));
        Network teacher(model, pool), learner(model, pool);
        TeacherCache cache(folder, {argv[1], model.config.vocabularySize, number(3, 64), 1},
                           control);
        const std::unique_ptr<TrainEngine> engine = makeCpuTrainEngine(teacher, nullptr, {}, pool);
        const TrainLoss loss{0, 1, 1};
        const int steps = number(6, 10);
        std::vector<double> live, cached;
        double tokens = 0;
        for (int step = 0; step < steps + 1; ++step) {
            TrainBatch batch = data.next();
            cache.add(
                batch, [&]() -> TrainEngine& { return *engine; }, pool, control);
            cache.flush();
            double start = steadySeconds();
            learner.accumulate(batch, loss, 1, &teacher, nullptr);
            const double with = steadySeconds() - start;
            start = steadySeconds();
            if (!cache.attach(batch))
                throw EngineError(ErrorKind::Internal, "the cache has lost what was put into it");
            learner.accumulate(batch, loss, 1, nullptr, nullptr);
            const double from = steadySeconds() - start;
            if (step == 0)  // reserves memory
                continue;
            tokens = static_cast<double>(batch.ids.size());
            live.push_back(with);
            cached.push_back(from);
        }
        std::sort(live.begin(), live.end());
        std::sort(cached.begin(), cached.end());
        const double a = live[live.size() / 2], b = cached[cached.size() / 2];
        std::printf(
            "{\"live_tokens_per_s\": %.0f, \"cached_tokens_per_s\": %.0f, \"ratio\": %.3f}\n",
            tokens / a, tokens / b, a / b);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        status = 1;
    }
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
    return status;
}
