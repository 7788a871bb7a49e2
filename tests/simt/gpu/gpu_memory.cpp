// Memory for the kernel tests on a device, and the word that there is none.
#include <gtest/gtest.h>

#include <cuda_runtime_api.h>

#include <cstdio>

#include "engine/core/devices.h"
#include "engine/core/error.h"
#include "tests/simt/emulator/device_array.h"

namespace fettle::simt {

void* allocateDevice(std::size_t bytes) {
    void* memory = nullptr;
    if (cudaMallocManaged(&memory, bytes > 0 ? bytes : 1) != cudaSuccess)
        throw std::bad_alloc();
    cudaMemset(memory, 0xff, bytes);
    cudaDeviceSynchronize();
    return memory;
}

void freeDevice(void* memory) {
    finishDevice();
    cudaFree(memory);
}

void finishDevice() {
    const cudaError_t status = cudaDeviceSynchronize();
    EXPECT_EQ(status, cudaSuccess) << cudaGetErrorString(status);
}

namespace {

class NeedDevice : public ::testing::Environment {
public:
    void SetUp() override {
        try {
            chooseDevice("cuda");
        } catch (const EngineError& error) {
            // ctest tells skipped from passed by this mark, which gtest prints for tests only.
            std::printf("[  SKIPPED ] %s\n", error.what());
            GTEST_SKIP() << error.what();
        }
    }
};
const auto* const g_environment = ::testing::AddGlobalTestEnvironment(new NeedDevice);

}  // namespace
}  // namespace fettle::simt
