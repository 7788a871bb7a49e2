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

/// Never throws; loads the driver library on the first call only.
CudaInventory queryCuda();

}  // namespace fettle::kernels
