// A typed piece of emulated device memory, for the tests.
#pragma once

#include <algorithm>
#include <vector>

#include "tests/simt/emulator/emulator.h"

namespace fettle::simt {

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
    std::vector<T> values() const { return std::vector<T>(m_data, m_data + m_count); }

private:
    T* m_data;
    std::size_t m_count;
};

}  // namespace fettle::simt
