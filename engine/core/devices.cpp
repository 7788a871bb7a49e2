#include "engine/core/devices.h"

#include <algorithm>
#include <fstream>
#include <string>
#include <thread>

#include "engine/core/error.h"
#include "kernels/cpu/isa.h"
#include "kernels/cuda/driver.h"

namespace fettle {

namespace {

std::uint64_t memoryInfo(const std::string& key) {
    std::ifstream file("/proc/meminfo");
    std::string name, unit;
    std::uint64_t kib = 0;
    while (file >> name >> kib) {
        std::getline(file, unit);
        if (name == key)
            return kib * 1024;
    }
    return 0;
}

}  // namespace

std::uint64_t physicalMemoryBytes() {
    return memoryInfo("MemTotal:");
}

std::uint64_t availableMemoryBytes() {
    return memoryInfo("MemAvailable:");
}

DeviceSummary cpuDevice(int threads) {
    DeviceSummary cpu;
    cpu.id = "cpu";
    cpu.name = kernels::processorName();
    cpu.isa = kernels::name(kernels::currentIsa());
    cpu.threads =
        threads > 0 ? threads : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    cpu.memoryBytes = physicalMemoryBytes();
    return cpu;
}

std::vector<DeviceSummary> listDevices() {
    std::vector<DeviceSummary> devices{cpuDevice()};
    const kernels::CudaInventory cuda = kernels::queryCuda();
    for (std::size_t i = 0; i < cuda.devices.size(); ++i) {
        const kernels::CudaDevice& found = cuda.devices[i];
        DeviceSummary device;
        device.id = "cuda:" + std::to_string(i);
        device.name = found.name;
        device.isa = "sm_" + std::to_string(found.major) + std::to_string(found.minor);
        device.memoryBytes = found.memoryBytes;
        device.reason = kernels::cudaProblem(found, cuda.driverVersion, kernels::cudaBuild());
        device.usable = device.reason.empty();
        devices.push_back(device);
    }
    if (cuda.devices.empty()) {
        DeviceSummary none;
        none.id = "cuda";
        none.name = "NVIDIA GPU";
        none.usable = false;
        none.reason = cuda.reason;
        devices.push_back(none);
    }
    return devices;
}

std::vector<DeviceSummary> chooseDevices(const std::string& ids) {
    std::vector<DeviceSummary> chosen;
    for (std::size_t from = 0; from <= ids.size();) {
        const std::size_t to = std::min(ids.find(',', from), ids.size());
        chosen.push_back(chooseDevice(ids.substr(from, to - from)));
        from = to + 1;
    }
    for (std::size_t i = 0; i < chosen.size() && chosen.size() > 1; ++i) {
        if (chosen[i].id.rfind("cuda:", 0) != 0)
            throw EngineError(ErrorKind::Device,
                              ids + ": only CUDA devices can hold a model together");
        for (std::size_t k = 0; k < i; ++k)
            if (chosen[k].id == chosen[i].id)
                throw EngineError(ErrorKind::Device, ids + ": " + chosen[i].id + " is named twice");
    }
    return chosen;
}

DeviceSummary joinedDevice(const std::vector<DeviceSummary>& devices) {
    DeviceSummary all = devices.front();
    for (std::size_t i = 1; i < devices.size(); ++i) {
        all.id += "," + devices[i].id;
        all.name += " + " + devices[i].name;
        if (devices[i].isa != devices.front().isa)
            all.isa += "," + devices[i].isa;
        all.memoryBytes += devices[i].memoryBytes;
    }
    return all;
}

DeviceSummary chooseDevice(const std::string& id) {
    if (id.empty() || id == "cpu")
        return cpuDevice();
    if (id.find(',') != std::string::npos)
        return joinedDevice(chooseDevices(id));
    const std::vector<DeviceSummary> devices = listDevices();
    const DeviceSummary& first = devices.at(1);  // of CUDA, or why there is none
    if (id == "auto") {
        for (const DeviceSummary& device : devices)
            if (device.usable && device.id != "cpu")
                return device;
        DeviceSummary cpu = devices.front();
        cpu.reason = "computing on the CPU: " + first.reason;
        return cpu;
    }
    for (const DeviceSummary& device : devices)
        if (device.id == id || (id == "cuda" && device.id == "cuda:0")) {
            if (device.usable)
                return device;
            throw EngineError(ErrorKind::Device, id + ": " + device.reason);
        }
    if (id.rfind("cuda:", 0) == 0 && first.id == "cuda")
        throw EngineError(ErrorKind::Device, id + ": " + first.reason);
    throw EngineError(ErrorKind::Device,
                      id + ": this machine has no such device; `fettle-cli devices` lists them");
}

}  // namespace fettle
