#include "kernels/cuda/driver.h"

#include <cstdlib>
#include <sstream>

#include <dlfcn.h>

namespace fettle::kernels {

namespace {

// The few entry points of the driver interface that a listing needs, with the types of cuda.h spelt
// out: CUresult and CUdevice are ints, and the attribute numbers are part of the driver's stable
// binary interface.
using Init = int (*)(unsigned);
using DriverVersion = int (*)(int*);
using DeviceCount = int (*)(int*);
using DeviceGet = int (*)(int*, int);
using DeviceName = int (*)(char*, int, int);
using DeviceMemory = int (*)(std::size_t*, int);
using DeviceAttribute = int (*)(int*, int, int);
constexpr int kComputeMajor = 75;
constexpr int kComputeMinor = 76;

template <typename F>
bool load(void* library, const char* symbol, F& function) {
    function = reinterpret_cast<F>(dlsym(library, symbol));
    return function != nullptr;
}

CudaInventory query() {
    CudaInventory found;
    void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        found.reason = "no NVIDIA driver is installed (libcuda.so.1 was not found)";
        return found;
    }
    Init init;
    DriverVersion version;
    DeviceCount count;
    DeviceGet get;
    DeviceName name;
    DeviceMemory memory;
    DeviceAttribute attribute;
    if (!load(library, "cuInit", init) || !load(library, "cuDriverGetVersion", version) ||
        !load(library, "cuDeviceGetCount", count) || !load(library, "cuDeviceGet", get) ||
        !load(library, "cuDeviceGetName", name) || !load(library, "cuDeviceTotalMem_v2", memory) ||
        !load(library, "cuDeviceGetAttribute", attribute)) {
        found.reason = "the NVIDIA driver is too old: it lacks functions this program needs";
        return found;
    }
    int devices = 0;
    if (const int status = init(0); status != 0) {
        found.reason = "the NVIDIA driver did not start (error " + std::to_string(status) + ")";
        return found;
    }
    version(&found.driverVersion);
    if (count(&devices) != 0 || devices == 0) {
        found.reason = "the NVIDIA driver reports no device";
        return found;
    }
    for (int i = 0; i < devices; ++i) {
        int handle = 0;
        char text[128] = {};
        std::size_t bytes = 0;
        CudaDevice device;
        if (get(&handle, i) != 0)
            continue;
        name(text, sizeof text - 1, handle);
        memory(&bytes, handle);
        attribute(&device.major, kComputeMajor, handle);
        attribute(&device.minor, kComputeMinor, handle);
        device.name = text;
        device.memoryBytes = bytes;
        found.devices.push_back(device);
    }
    return found;
}

}  // namespace

CudaBuild cudaBuild() {
    CudaBuild build;
#ifdef FETTLE_CUDA_TOOLKIT
    build.toolkit = FETTLE_CUDA_TOOLKIT;
    build.architectures = FETTLE_CUDA_ARCHITECTURES;
#endif
    return build;
}

std::string cudaProblem(const CudaDevice& device, int driverVersion, const CudaBuild& build) {
    if (build.toolkit == 0)
        return "this build has no CUDA backend (the preset `cuda` makes one)";
    const auto versionText = [](int version) {
        return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
    };
    if (driverVersion / 1000 < build.toolkit / 1000)
        return "the NVIDIA driver is too old: it serves CUDA " + versionText(driverVersion) +
               ", this program needs " + std::to_string(build.toolkit / 1000) + ".0 or later";
    std::istringstream list(build.architectures);
    for (std::string entry; std::getline(list, entry, ',');) {
        const int arch = std::atoi(entry.c_str()), have = 10 * device.major + device.minor;
        const bool ptx = entry.find("-real") == std::string::npos;
        if (have >= arch && (ptx || arch / 10 == device.major))
            return "";
    }
    return "its compute capability " + std::to_string(device.major) + "." +
           std::to_string(device.minor) + " is not among those this program was compiled for (" +
           build.architectures + ")";
}

CudaInventory queryCuda() {
    static const CudaInventory inventory = query();
    return inventory;
}

}  // namespace fettle::kernels
