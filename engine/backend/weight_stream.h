// Weights that a device has no room for. They stay in pinned memory of the host and pass through
// two slots of device memory: while one is multiplied, the next is copied on a stream of its own.
// Which one is next is what came next the last time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>

#include "engine/backend/backend.h"
#include "kernels/cuda/runtime.h"

namespace fettle {

class WeightStream {
public:
    /// Reports a status that is an error; makes a buffer on the device.
    using Check = std::function<void(kernels::cuda::Status, const char* what)>;
    using Allocate = std::function<std::unique_ptr<DeviceBuffer>(std::size_t bytes)>;
    WeightStream(Check check, Allocate allocate);
    ~WeightStream();
    WeightStream(const WeightStream&) = delete;
    WeightStream& operator=(const WeightStream&) = delete;

    /// Pinned memory for a weight, to be filled before it is used.
    std::byte* add(std::size_t bytes);
    void remove(std::byte* weight) noexcept;
    /// Where the weight lies on the device for what is queued on `compute` until the next call.
    const std::byte* use(const std::byte* weight, kernels::cuda::Stream compute);

    std::size_t hostBytes() const { return m_hostBytes; }
    /// Copies that were begun while something else was computed, and those that were waited for.
    std::int64_t ahead() const { return m_ahead; }
    std::int64_t late() const { return m_late; }

private:
    struct Slot {
        std::unique_ptr<DeviceBuffer> memory;
        const std::byte* weight = nullptr;      // what it holds or is to hold
        kernels::cuda::Event copied = nullptr;  // after the copy to it
        kernels::cuda::Event read = nullptr;    // after the last product that used it
    };

    void start();
    void makeRoom(kernels::cuda::Stream compute);
    void copyTo(Slot& slot, const std::byte* weight);

    Check m_check;
    Allocate m_allocate;
    kernels::cuda::Stream m_copies = nullptr;
    std::array<Slot, 2> m_slots;
    std::size_t m_current = 0;  // the slot of the last call
    std::unordered_map<const std::byte*, std::size_t> m_bytes;
    std::unordered_map<const std::byte*, const std::byte*> m_next;
    const std::byte* m_last = nullptr;
    std::size_t m_hostBytes = 0, m_largest = 0;
    std::int64_t m_ahead = 0, m_late = 0;
};

}  // namespace fettle
