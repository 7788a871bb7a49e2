// Products of a weight on a device, beside those of cuBLASLt on the same shape in float16.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "engine/backend/backend.h"
#include "kernels/formats/weight_format.h"

namespace fettle::bench {

class DeviceProducts {
public:
    /// Throws EngineError(Device) with the reason where there is no such device.
    explicit DeviceProducts(const std::string& device);
    ~DeviceProducts();
    std::string description() const;
    /// Prints a line: decoding in bytes per second, prompts in operations, and how many times as
    /// fast as cuBLASLt each is.
    void bench(const char* label, const kernels::WeightView& weight);

private:
    double secondsOf(const kernels::WeightView& weight, std::int64_t tokens);
    double librarySeconds(std::int64_t rows, std::int64_t cols, std::int64_t tokens);
    std::unique_ptr<Backend> m_backend;
};

}  // namespace fettle::bench
