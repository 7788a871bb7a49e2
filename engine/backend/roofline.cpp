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

constexpr DevicePeaks peaks(const char* name, const char* source, double gigabytes, double gigaPerS,
                            double float32, double lanes, double half, double int8) {
    return {name,
            source,
            static_cast<std::uint64_t>(gigabytes * kGiga),
            gigaPerS * kGiga,
            float32 * kTera,
            dp4aOf(float32, lanes) * kTera,
            half * kTera,
            int8 * kTera};
}

constexpr DevicePeaks kPeaks[] = {
    peaks("A100", "NVIDIA A100 datasheet, SXM 80 GB", 80, 2039, 19.5, 64, 312, 624),
    peaks("H100", "NVIDIA H100 datasheet, SXM, without sparsity", 80, 3350, 67, 128, 989.5, 1979),
    peaks("B200", "NVIDIA HGX B200 datasheet, per GPU, without sparsity", 180, 8000, 80, 128, 2250,
          4500),
    peaks("RTX 4090", "NVIDIA Ada GPU architecture, float32 sums", 24, 1008, 82.6, 128, 165.2,
          660.6),
    peaks("RTX 5090", "NVIDIA RTX Blackwell GPU architecture, float32 sums", 32, 1792, 104.8, 128,
          209.5, 838),
    peaks("L4", "NVIDIA L4 datasheet, without sparsity", 24, 300, 30.3, 128, 121, 242.5),
};

}  // namespace

std::span<const DevicePeaks> knownPeaks() {
    return kPeaks;
}

double predictedSeconds(const KernelWork& work, const DevicePeaks& device) {
    return std::max({work.bytes() / device.bytesPerSecond, work.float32 / device.float32,
                     work.dp4a / device.dp4a, work.half / device.half, work.int8 / device.int8});
}

}  // namespace fettle
