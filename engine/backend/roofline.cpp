#include "engine/backend/roofline.h"

#include <algorithm>

namespace fettle {

namespace {

constexpr double kTera = 1e12;
constexpr double kGiga = 1e9;

/// dp4a runs at the rate of 32-bit integer multiply-adds, 64 a clock and multiprocessor on all of
/// these (CUDA programming guide, throughput of native arithmetic instructions), and does 8
/// operations; `lanes` float32 lanes do 2 each. The clock is that of the published float32 figure.
constexpr double dp4aOf(double float32, double lanes) {
    return float32 * (64 * 8) / (lanes * 2);
}

/// Teraflops of tensor cores by the factors' type.
struct TensorPeaks {
    double half, int8, fp8 = 0, fp4 = 0;
};

constexpr DevicePeaks peaks(const char* name, const char* source, int capability, double gigabytes,
                            double gigaPerS, double float32, double lanes,
                            const TensorPeaks& tensor) {
    return {name,
            source,
            capability,
            static_cast<std::uint64_t>(gigabytes * kGiga),
            gigaPerS * kGiga,
            float32 * kTera,
            dp4aOf(float32, lanes) * kTera,
            tensor.half * kTera,
            tensor.int8 * kTera,
            tensor.fp8 * kTera,
            tensor.fp4 * kTera};
}

constexpr DevicePeaks kPeaks[] = {
    peaks("A100", "NVIDIA A100 datasheet, SXM 80 GB", 80, 80, 2039, 19.5, 64,
          {.half = 312, .int8 = 624}),
    peaks("H100", "NVIDIA H100 datasheet, SXM, without sparsity", 90, 80, 3350, 67, 128,
          {.half = 989.5, .int8 = 1979, .fp8 = 1979}),
    peaks("B200", "NVIDIA HGX B200 datasheet, per GPU, without sparsity", 100, 180, 8000, 80, 128,
          {.half = 2250, .int8 = 4500, .fp8 = 4500, .fp4 = 9000}),
    peaks("RTX 4090", "NVIDIA Ada GPU architecture, float32 sums", 89, 24, 1008, 82.6, 128,
          {.half = 165.2, .int8 = 660.6, .fp8 = 330.3}),
    peaks("RTX 5090", "NVIDIA RTX Blackwell GPU architecture, float32 sums", 120, 32, 1792, 104.8,
          128, {.half = 209.5, .int8 = 838, .fp8 = 419, .fp4 = 1676}),
    peaks("L4", "NVIDIA L4 datasheet, without sparsity", 89, 24, 300, 30.3, 128,
          {.half = 121, .int8 = 242.5, .fp8 = 242.5}),
};

}  // namespace

std::span<const DevicePeaks> knownPeaks() {
    return kPeaks;
}

double predictedSeconds(const KernelWork& work, const DevicePeaks& device) {
    const auto seconds = [](double operations, double rate) {
        return operations > 0 ? operations / rate : 0.0;
    };
    return std::max({work.bytes() / device.bytesPerSecond, seconds(work.float32, device.float32),
                     seconds(work.dp4a, device.dp4a), seconds(work.half, device.half),
                     seconds(work.int8, device.int8), seconds(work.fp8, device.fp8),
                     seconds(work.fp4, device.fp4)});
}

}  // namespace fettle
