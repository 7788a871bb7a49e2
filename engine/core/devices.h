// What this machine can compute on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fettle {

struct DeviceSummary {
    std::string id;    ///< "cpu", "cuda:0"
    std::string name;  ///< as the system names it
    std::string isa;   ///< instruction set the kernels use, or compute capability
    int threads = 0;
    std::uint64_t memoryBytes = 0;
    bool usable = true;
    std::string reason;  ///< why not usable, in words
};

/// The CPU first, then every NVIDIA device the driver reports. Asking never fails: without a driver
/// the list says why.
std::vector<DeviceSummary> listDevices();
DeviceSummary cpuDevice(int threads = 0);
/// The device of "cpu" (or nothing), "cuda" (the first), "cuda:N" or "auto" (the first CUDA device
/// that can be used; else the CPU, with the reason), or several CUDA devices as one. Throws
/// EngineError(Device), saying why, for a device that cannot be used.
DeviceSummary chooseDevice(const std::string& id);
/// The devices of such an id, or of several CUDA devices with commas between, which hold a model
/// together: "cuda:0,cuda:1". Throws likewise, and for a device that is named twice.
std::vector<DeviceSummary> chooseDevices(const std::string& ids);
/// Several as one: ids and names joined, memory added.
DeviceSummary joinedDevice(const std::vector<DeviceSummary>& devices);
std::uint64_t physicalMemoryBytes();
std::uint64_t availableMemoryBytes();

}  // namespace fettle
