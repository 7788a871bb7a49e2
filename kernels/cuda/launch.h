// One launch of a kernel as data: to be kept, compared with another, and done again.
#pragma once

#include <cstddef>

#include "kernels/cuda/stream.h"

namespace fettle::kernels::cuda {

struct KernelCall {
    const void* kernel = nullptr;  ///< the __global__ function
    unsigned grid[3] = {1, 1, 1};
    unsigned block[3] = {1, 1, 1};
    std::size_t sharedBytes = 0;
    // Where the arguments lie, which have the kernel's own types and are trivially copyable.
    void* const* arguments = nullptr;
    const std::size_t* sizes = nullptr;
    std::size_t count = 0;
    /// Queues the call, whose kernel it knows the type of.
    Status (*run)(const KernelCall& call, Stream stream) = nullptr;
};

/// Takes launches instead of the device. The call's arguments are gone when take() returns.
class LaunchRecorder {
public:
    virtual ~LaunchRecorder() = default;
    virtual Status take(const KernelCall& call) = 0;
};

/// Where the calling thread's launches go; null: to the device.
inline thread_local LaunchRecorder* launchRecorder = nullptr;

}  // namespace fettle::kernels::cuda
