#include "tests/bench/device_products.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <vector>

#include "engine/core/error.h"

#ifdef FETTLE_CUDA
#include "engine/backend/cuda_backend.h"
#endif

namespace fettle::bench {

namespace {

// More than the caches of devices hold, so that weights come from memory.
constexpr std::size_t kRotatedBytes = std::size_t{512} << 20;
constexpr int kLaunches = 50;  // queued together: what starting one takes hides behind another
constexpr int kRepeats = 5;

/// Of one call, the fastest of several runs.
double secondsEach(Backend& backend, const std::function<void(std::size_t)>& call) {
    double least = 1e30;
    for (int repeat = 0; repeat <= kRepeats; ++repeat) {
        backend.synchronize();
        const auto start = std::chrono::steady_clock::now();
        for (std::size_t i = 0; i < kLaunches; ++i)
            call(i);
        backend.synchronize();
        const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
        if (repeat > 0)  // the first reserves memory and asks for plans
            least = std::min(least, taken.count() / kLaunches);
    }
    return least;
}

}  // namespace

DeviceProducts::DeviceProducts(const std::string& device) : m_backend(makeBackend(device, 0)) {
    if (m_backend->sharesMemory())
        throw EngineError(ErrorKind::Device, device + " is no device beside the CPU");
}
DeviceProducts::~DeviceProducts() = default;

std::string DeviceProducts::description() const {
    return m_backend->device().id + ", " + m_backend->device().name + ", " +
           m_backend->device().isa;
}

double DeviceProducts::secondsOf(const kernels::WeightView& weight, std::int64_t tokens) {
    std::vector<std::unique_ptr<DeviceWeight>> copies;
    copies.push_back(m_backend->prepareWeight(weight));
    const std::size_t wanted = std::clamp<std::size_t>(kRotatedBytes / copies[0]->bytes(), 1, 64);
    while (copies.size() < wanted)
        copies.push_back(m_backend->prepareWeight(weight));
    const auto floats = [&](std::int64_t count) {
        return m_backend->allocate(static_cast<std::size_t>(count) * sizeof(float));
    };
    const auto x = floats(tokens * weight.cols), y = floats(tokens * weight.rows);
    return secondsEach(*m_backend, [&](std::size_t i) {
        const LinearTarget target{copies[i % copies.size()].get(), static_cast<float*>(y->data()),
                                  weight.rows, nullptr, false};
        m_backend->linear(static_cast<const float*>(x->data()), tokens, weight.cols, weight.cols,
                          {&target, 1});
    });
}

double DeviceProducts::librarySeconds([[maybe_unused]] std::int64_t rows,
                                      [[maybe_unused]] std::int64_t cols,
                                      [[maybe_unused]] std::int64_t tokens) {
#ifdef FETTLE_CUDA
    if (auto* const cuda = dynamic_cast<CudaBackend*>(m_backend.get())) {
        const auto bytes = static_cast<std::size_t>(rows * cols) * 2;
        std::vector<std::unique_ptr<DeviceBuffer>> weights;
        while (weights.size() < std::clamp<std::size_t>(kRotatedBytes / bytes, 1, 64))
            weights.push_back(cuda->allocate(bytes));
        const auto x = cuda->allocate(static_cast<std::size_t>(tokens * cols) * 2);
        const auto y = cuda->allocate(static_cast<std::size_t>(tokens * rows) * sizeof(float));
        kernels::cuda::BlasGemm gemm;
        gemm.type = kernels::cuda::BlasType::F16;
        gemm.m = tokens;
        gemm.n = gemm.cStride = rows;
        gemm.k = gemm.aStride = gemm.bStride = cols;
        gemm.a = x->data();
        gemm.c = y->data();
        return secondsEach(*cuda, [&](std::size_t i) {
            gemm.b = weights[i % weights.size()]->data();
            cuda->check(cuda->blas().gemm(gemm), "multiplying");
        });
    }
#endif
    return 0;
}

void DeviceProducts::bench(const char* label, const kernels::WeightView& weight) {
    std::printf("%-12s %6lld -> %-6lld", label, static_cast<long long>(weight.cols),
                static_cast<long long>(weight.rows));
    const auto bytes = static_cast<double>(m_backend->prepareWeight(weight)->bytes());
    for (const std::int64_t tokens : {1, 8, 64, 512, 2048}) {
        const double ours = secondsOf(weight, tokens);
        const double library = librarySeconds(weight.rows, weight.cols, tokens);
        if (tokens <= 8)
            std::printf(" | m=%lld %6.0f GB/s", static_cast<long long>(tokens), bytes / ours / 1e9);
        else
            std::printf(" | m=%lld %6.1f TOP/s", static_cast<long long>(tokens),
                        2e-12 * static_cast<double>(tokens * weight.cols * weight.rows) / ours);
        if (library > 0)
            std::printf(" (%.2fx)", library / ours);
    }
    std::printf("\n");
    std::fflush(stdout);
}

}  // namespace fettle::bench
