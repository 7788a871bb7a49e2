// Resident memory of this process, as the operating system accounts for it.
#pragma once

#include <cstdint>

namespace fettle {

/// Highest resident set since the last reset (VmHWM), bytes; 0 where the system does not tell.
std::uint64_t peakResidentBytes();
std::uint64_t residentBytes();
/// Starts a new high-water mark. False where the system does not allow it: then the peak counts
/// from process start.
bool resetPeakResident();

}  // namespace fettle
