// What the emulated device can be made to do wrong, for tests of the host's side.
#pragma once

#include <cstddef>
#include <limits>

namespace fettle::simt {

struct Faults {
    std::size_t memoryBytes = std::numeric_limits<std::size_t>::max();  ///< of the device
    bool lost = false;         ///< every wait for the device fails
    bool noBlas = false;       ///< the library of products is not installed
    bool noWaits = false;      ///< streams do not wait for each other
    bool noGraphs = false;     ///< no graph can be made
    bool staleGraphs = false;  ///< changes of a graph's launches are lost
};
Faults& faults();
/// Bytes of device memory that are allocated.
std::size_t deviceBytes();

}  // namespace fettle::simt
