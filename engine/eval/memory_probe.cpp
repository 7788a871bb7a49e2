#include "engine/eval/memory_probe.h"

#include <fstream>
#include <string>

namespace fettle {

namespace {

std::uint64_t statusBytes(const std::string& key) {
    std::ifstream status("/proc/self/status");
    std::string line;
    while (std::getline(status, line))
        if (line.compare(0, key.size(), key) == 0)
            return std::stoull(line.substr(key.size())) * 1024;
    return 0;
}

}  // namespace

std::uint64_t peakResidentBytes() {
    return statusBytes("VmHWM:");
}

std::uint64_t residentBytes() {
    return statusBytes("VmRSS:");
}

bool resetPeakResident() {
    std::ofstream clear("/proc/self/clear_refs");
    clear << "5";  // proc(5): 5 resets the peak resident set size
    clear.flush();
    return clear.good();
}

}  // namespace fettle
