// What the emulated device can be made to do wrong, for tests of the host's side.
#pragma once

#include <cstddef>
#include <limits>

namespace fettle::simt {

struct Faults {
    std::size_t memoryBytes = std::numeric_limits<std::size_t>::max();  ///< of the first device
    std::size_t secondBytes = std::numeric_limits<std::size_t>::max();  ///< of the other
    /// Of the first device, what others have taken since it was asked how much is free.
    std::size_t takenBytes = 0;
    bool lost = false;         ///< every wait for the device fails
    bool noBlas = false;       ///< neither library of products is installed
    bool noLt = false;         ///< the one that plans products is not
    bool noPlans = false;      ///< it has a way for none
    bool brokenPlans = false;  ///< its ways are refused when they are used
    bool noWaits = false;      ///< streams do not wait for each other
    bool noGraphs = false;     ///< no graph can be made
    bool staleGraphs = false;  ///< changes of a graph's launches are lost
};
Faults& faults();
/// Puts the faults back that were there before.
class FaultScope {
public:
    FaultScope() : m_before(faults()) {}
    ~FaultScope() { faults() = m_before; }
    FaultScope(const FaultScope&) = delete;
    FaultScope& operator=(const FaultScope&) = delete;

private:
    Faults m_before;
};
/// Bytes of device memory that are allocated, of all devices or of one.
std::size_t deviceBytes(int device = -1);

}  // namespace fettle::simt
