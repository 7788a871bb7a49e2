// Asks the CUDA driver what devices there are. libcuda is looked up at run time, so one binary runs
// with and without it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fettle::kernels {

struct CudaDevice {
    std::string name;
    int major = 0;  ///< compute capability
    int minor = 0;
    std::uint64_t memoryBytes = 0;
};

struct CudaInventory {
    std::vector<CudaDevice> devices;
    int driverVersion = 0;  ///< 12040 = 12.4
    std::string reason;     ///< why `devices` is empty, in words
};

/// What the CUDA kernels of this program were compiled with.
struct CudaBuild {
    int toolkit = 0;            ///< 13000 = 13.0; 0: they were not compiled
    std::string architectures;  ///< "80-real,90-real,120": machine code for each, PTX of the last
};
CudaBuild cudaBuild();
/// Why a device cannot run them, in words; empty if it can. Machine code runs on devices of the
/// same major and no smaller minor number, PTX on all later ones; a driver serves programs made
/// with a toolkit of its major number or an earlier one.
std::string cudaProblem(const CudaDevice& device, int driverVersion, const CudaBuild& build);

/// Never throws; loads the driver library on the first call only.
CudaInventory queryCuda();

}  // namespace fettle::kernels
