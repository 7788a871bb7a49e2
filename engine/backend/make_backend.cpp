#include "engine/backend/backend.h"
#include "engine/backend/cpu_backend.h"
#include "engine/core/error.h"

#ifdef FETTLE_CUDA
#include "engine/backend/cuda_backend.h"
#include "engine/backend/split_backend.h"
#endif

namespace fettle {

std::unique_ptr<DeviceBuffer> uploaded(Backend& backend, std::span<const float> values) {
    std::unique_ptr<DeviceBuffer> buffer = backend.allocate(values.size_bytes());
    backend.upload(buffer->data(), values.data(), values.size_bytes());
    return buffer;
}

void Backend::useProducts(kernels::Products products) {
    if (products != kernels::Products::Float32)
        throw EngineError(ErrorKind::Device, device().id + ": products of bfloat16 are chosen on " +
                                                 "the CPU only; a GPU's follow from the weights");
}

std::unique_ptr<Backend> makeBackend(const std::string& deviceId, int threads) {
    const std::vector<DeviceSummary> devices = chooseDevices(deviceId);
    const DeviceSummary& device = devices.front();
    if (device.id == "cpu")
        return std::make_unique<CpuBackend>(threads);
#ifdef FETTLE_CUDA
    if (devices.size() > 1)
        return std::make_unique<SplitBackend>(devices, threads);
    return std::make_unique<CudaBackend>(device, threads);
#else
    throw EngineError(ErrorKind::Device, device.id + ": this build has no CUDA backend");
#endif
}

}  // namespace fettle
