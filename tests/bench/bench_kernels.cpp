// How close the matrix products come to the machine: decoding (m = 1) against the measured read
// bandwidth, prefill (m = 512) in operations per second. Weights of decoding are rotated through
// far more memory than the caches hold.
//   bench_kernels [threads] [name filter] [isa: baseline|avx2|avx512]
//   bench_kernels --device cuda [name filter]   products on a device, beside cuBLASLt's in float16
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/isa.h"
#include "kernels/ops/attention.h"
#include "kernels/ops/matmul.h"
#include "tests/bench/device_products.h"

using namespace fettle::kernels;

namespace {

constexpr std::size_t kDecodeBytes = std::size_t{192} << 20;

double seconds(const std::function<void()>& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// The fastest of several runs: the machine's capability, undisturbed.
double best(int repeats, const std::function<void()>& work) {
    work();
    double least = 1e30;
    for (int i = 0; i < repeats; ++i)
        least = std::min(least, seconds(work));
    return least;
}

double readBandwidth(WorkerPool& pool) {
    constexpr std::int64_t count = std::int64_t{1} << 27;  // 1 GiB of 8 bytes
    const std::unique_ptr<std::uint64_t[]> memory(new std::uint64_t[count]);
    pool.parallelFor(count, 1 << 16, [&](std::int64_t begin, std::int64_t end, int) {
        std::fill(memory.get() + begin, memory.get() + end, 1);
    });
    std::uint64_t total = 0;
    const double time = best(5, [&] {
        std::vector<std::uint64_t> sums(static_cast<std::size_t>(pool.threads()) * 8);
        pool.parallelFor(count, 1 << 16, [&](std::int64_t begin, std::int64_t end, int thread) {
            std::uint64_t s[8] = {};
            for (std::int64_t i = begin; i < end; i += 8)
                for (int j = 0; j < 8; ++j)
                    s[j] += memory[static_cast<std::size_t>(i + j)];
            for (const std::uint64_t v : s)
                sums[static_cast<std::size_t>(thread) * 8] += v;
        });
        for (const std::uint64_t v : sums)
            total += v;
    });
    if (total == 0)
        std::puts("");  // keeps the sums alive
    return count * 8 / time / 1e9;
}

struct Format {
    const char* label;
    WeightFormat format;
    std::int64_t groupSize;
    std::optional<ActivationFormat> activations = {};
};
constexpr Format kFormats[] = {
    {"Q4_0", WeightFormat::Q4_0, 0},
    {"Q5_0", WeightFormat::Q5_0, 0},
    {"Q8_0", WeightFormat::Q8_0, 0},
    {"Q4_K", WeightFormat::Q4_K, 0},
    {"Q6_K", WeightFormat::Q6_K, 0},
    {"Int8Channel", WeightFormat::Int8Channel, 0},
    {"Int4 g32", WeightFormat::Int4Group, 32},
    {"Int4 g128", WeightFormat::Int4Group, 128},
    {"Int4 g128 a8", WeightFormat::Int4Group, 128, ActivationFormat::Int8Token},
    {"Int3 g128", WeightFormat::Int3Group, 128},
    {"Int2 g64", WeightFormat::Int2Group, 64},
    {"W8A16", WeightFormat::Int8Channel, 0, ActivationFormat::Int8Group32},
    {"Fp8", WeightFormat::Fp8Channel, 0},
    {"NvFp4 w4a16", WeightFormat::NvFp4, 16},
    {"NvFp4", WeightFormat::NvFp4, 16, ActivationFormat::NvFp4},
    {"MxFp4 w4a16", WeightFormat::MxFp4, 32},
    {"MxFp4", WeightFormat::MxFp4, 32, ActivationFormat::MxFp4},
    {"MxFp8", WeightFormat::MxFp8, 32, ActivationFormat::MxFp8},
    {"BF16", WeightFormat::BF16, 0},
    {"F32", WeightFormat::F32, 0}};
struct Shape {
    std::int64_t k, n;
};
constexpr Shape kShapes[] = {{640, 2048},  {2048, 640},  {640, 1024},
                             {2048, 2048}, {2048, 8192}, {8192, 2048}};

/// Random bits as a weight, and the memory it lies in.
struct RandomWeight {
    std::vector<std::uint8_t> data;
    std::vector<std::uint16_t> scales;
    WeightView view;
};

RandomWeight makeWeight(const Format& f, const Shape& s) {
    std::mt19937 rng(1);
    RandomWeight made;
    std::vector<std::uint8_t>& data = made.data;
    data.resize(static_cast<std::size_t>(s.n) * rowBytes(f.format, s.k));
    for (std::size_t i = 0; i + 4 <= data.size(); i += 4) {
        const std::uint32_t bits =
            rng() & 0x3BFF3BFFu;  // never a NaN or infinity, read as any type
        std::memcpy(data.data() + i, &bits, 4);
    }
    // Of floats, random bits would be mostly denormal, which processors multiply in microcode.
    std::normal_distribution<float> normal(0, 1);
    const std::size_t bytes = f.format == WeightFormat::F32    ? 4
                              : f.format == WeightFormat::BF16 ? 2
                                                               : 0;
    for (std::size_t i = 0; bytes != 0 && i + bytes <= data.size(); i += bytes) {
        const float value = normal(rng);
        std::memcpy(data.data() + i, reinterpret_cast<const char*>(&value) + 4 - bytes, bytes);
    }
    made.scales.assign(static_cast<std::size_t>(s.n * s.k / 32), 0x2C2C);
    WeightView& w = made.view;
    w.format = f.format;
    w.rows = s.n;
    w.cols = s.k;
    w.data = data.data();
    w.scales = made.scales.data();
    const bool power = f.format == WeightFormat::MxFp4 || f.format == WeightFormat::MxFp8;
    w.scaleType = f.format == WeightFormat::NvFp4 ? ScaleType::E4M3
                  : power                         ? ScaleType::E8M0
                                                  : ScaleType::F16;
    w.groupSize = f.groupSize;
    w.activations = f.activations;
    return made;
}

std::vector<float> randomFloats(std::int64_t count) {
    std::mt19937 rng(2);
    std::normal_distribution<float> normal(0, 1);
    std::vector<float> x(static_cast<std::size_t>(count));
    for (float& v : x)
        v = normal(rng);
    return x;
}

void benchShape(const Format& f, const Shape& s, WorkerPool& pool, double roof) {
    std::vector<PackedWeight> copies;
    const RandomWeight weight = makeWeight(f, s);
    copies.push_back(PackedWeight::pack(weight.view, pool));
    const std::size_t wanted = std::clamp<std::size_t>(kDecodeBytes / copies[0].bytes(), 1, 512);
    while (copies.size() < wanted)
        copies.push_back(PackedWeight::pack(weight.view, pool));
    std::vector<float> y(static_cast<std::size_t>(512 * s.n));
    std::printf("%-12s %6ld -> %-6ld", f.label, static_cast<long>(s.k), static_cast<long>(s.n));
    for (const std::int64_t m : {1, 2, 4, 8, 12, 16, 32}) {
        const std::vector<float> x = randomFloats(m * s.k);
        Activations a;
        const double time = best(3, [&] {
            for (const PackedWeight& w : copies) {
                a.assign(x.data(), m, s.k, s.k);
                matmul(w, a, y.data(), s.n, nullptr, false, pool);
            }
        });
        const double rate = static_cast<double>(copies.size() * copies[0].bytes()) / time / 1e9;
        if (m == 1)
            std::printf(" | m=1 %6.1f GB/s (%3.0f%%)", rate, 100 * rate / roof);
        else
            std::printf("  m=%ld %5.1f", static_cast<long>(m), rate);
    }
    const std::int64_t m = s.n > 100000 ? 32 : 512;
    const std::vector<float> x = randomFloats(m * s.k);
    Activations a;
    const double time = best(3, [&] {
        a.assign(x.data(), m, s.k, s.k);
        matmul(copies[0], a, y.data(), s.n, nullptr, false, pool);
    });
    std::printf(" | m=%ld %7.1f GOP/s\n", static_cast<long>(m),
                2e-9 * static_cast<double>(m * s.k * s.n) / time);
    std::fflush(stdout);
}

void benchAttention(WorkerPool& pool, std::int64_t heads, std::int64_t kvHeads, std::int64_t dim,
                    std::int64_t past, std::int64_t tokens) {
    const std::int64_t capacity = past + tokens;
    std::vector<std::uint16_t> keys(static_cast<std::size_t>(kvHeads * capacity * dim), 0x2E66),
        values = keys;
    const std::vector<float> q = randomFloats(tokens * heads * dim);
    std::vector<float> out(q.size());
    AttentionArgs a;
    a.q = q.data();
    a.qStride = a.outStride = heads * dim;
    a.keys = keys.data();
    a.values = values.data();
    a.capacity = capacity;
    a.past = past;
    a.tokens = tokens;
    a.heads = heads;
    a.kvHeads = kvHeads;
    a.headDim = dim;
    a.scale = 0.1F;
    a.out = out.data();
    const double time = best(5, [&] { attention(a, pool); });
    const double pairs = static_cast<double>(tokens) *
                         (static_cast<double>(past) + (static_cast<double>(tokens) + 1) / 2);
    std::printf(
        "attention heads %ld/%ld dim %ld past %ld tokens %ld: %.3f ms, %.1f GFLOP/s, cache %.1f "
        "GB/s\n",
        static_cast<long>(heads), static_cast<long>(kvHeads), static_cast<long>(dim),
        static_cast<long>(past), static_cast<long>(tokens), time * 1e3,
        4e-9 * pairs * static_cast<double>(heads * dim) / time,
        static_cast<double>(4 * kvHeads * capacity * dim) / time / 1e9);
}

/// Calls body(format, shape) for the formats whose name holds `filter`.
template <class F>
void eachWeight(const std::string& filter, const F& body) {
    for (const Format& f : kFormats) {
        if (std::string(f.label).find(filter) == std::string::npos)
            continue;
        for (const Shape& s : kShapes)
            if (s.k % blockValues(f.format) == 0)
                body(f, s);
    }
}

int benchDevice(const std::string& device, const std::string& filter) {
    try {
        fettle::bench::DeviceProducts products(device);
        std::printf("%s; in brackets: times as fast as cuBLASLt in float16\n",
                    products.description().c_str());
        eachWeight(filter, [&](const Format& f, const Shape& s) {
            products.bench(f.label, makeWeight(f, s).view);
        });
    } catch (const std::exception& error) {
        std::printf("skipped: %s\n", error.what());
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc > 2 && std::string(argv[1]) == "--device")
        return benchDevice(argv[2], argc > 3 ? argv[3] : "");
    WorkerPool pool(argc > 1 ? std::atoi(argv[1]) : 0);
    const std::string filter = argc > 2 ? argv[2] : "";
    if (argc > 3)
        setIsa(std::string(argv[3]) == "avx512" ? Isa::Avx512Vnni
               : std::string(argv[3]) == "avx2" ? Isa::Avx2
               : std::string(argv[3]) == "amx"  ? Isa::Amx
                                                : Isa::Baseline);
    const double roof = readBandwidth(pool);
    std::printf("%s, %s, %d threads, reads %.1f GB/s\n", processorName().c_str(),
                name(currentIsa()), pool.threads(), roof);
    eachWeight(filter, [&](const Format& f, const Shape& s) { benchShape(f, s, pool, roof); });
    if (std::string("Q8_0").find(filter) != std::string::npos)
        benchShape({"Q8_0", WeightFormat::Q8_0, 0}, {640, 262144}, pool, roof);
    if (std::string("attention").find(filter) != std::string::npos) {
        benchAttention(pool, 4, 1, 256, 0, 512);
        benchAttention(pool, 4, 1, 256, 2048, 1);
        benchAttention(pool, 32, 8, 64, 0, 512);
        benchAttention(pool, 32, 8, 64, 2048, 1);
    }
    return 0;
}
