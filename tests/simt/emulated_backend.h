// The CUDA backend on the emulator.
#pragma once

#include "engine/backend/cuda_backend.h"
#include "engine/train/device_network.h"
#include "tests/simt/orders.h"

namespace fettle::test {

inline DeviceSummary emulatedDevice(const char* isa = "sm_80") {
    DeviceSummary device;
    device.id = "cuda:0";
    device.name = "emulated device";
    device.isa = isa;
    return device;
}

/// Every buffer a piece of its own, so that accesses beside it are noticed.
struct EmulatedBackend : CudaBackend {
    explicit EmulatedBackend(std::size_t pieceBytes = 0) : EmulatedBackend(nullptr, pieceBytes) {}
    explicit EmulatedBackend(const char* isa, std::size_t pieceBytes = 0)
        : CudaBackend(isa ? emulatedDevice(isa) : emulatedDevice(), 2, pieceBytes) {
        trainDeviceOf() = cudaTrainDevice;
    }
};

/// Memory races are looked for by the kernels' own tests; whole models run without that.
inline simt::Options quick(simt::Order order = simt::Order::Plain) {
    simt::Options options;
    options.order = order;
    options.checkMemory = false;
    return options;
}

}  // namespace fettle::test
