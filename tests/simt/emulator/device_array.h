// A typed piece of device memory that the host can read, for the tests: of the emulator, or managed
// memory of a device.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#ifndef FETTLE_ON_GPU
#include "tests/simt/emulator/emulator.h"
#endif

namespace fettle::simt {

#ifdef FETTLE_ON_GPU
void* allocateDevice(std::size_t bytes);
void freeDevice(void* memory);
/// Waits for the device; fails the test if a kernel failed.
void finishDevice();
#else
inline void finishDevice() {}
#endif

template <class T>
class DeviceArray {
public:
    explicit DeviceArray(std::size_t count)
        : m_data(static_cast<T*>(allocateDevice(count * sizeof(T)))), m_count(count) {}
    DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
        std::copy(values.begin(), values.end(), m_data);
    }
    ~DeviceArray() { freeDevice(m_data); }
    DeviceArray(const DeviceArray&) = delete;
    DeviceArray& operator=(const DeviceArray&) = delete;

    T* data() { return m_data; }
    std::vector<T> values() const {
        finishDevice();
        return std::vector<T>(m_data, m_data + m_count);
    }

private:
    T* m_data;
    std::size_t m_count;
};

}  // namespace fettle::simt
