// A profiler on the emulator: what ranges began and ended, as it would have been shown.
#pragma once

#include <string>
#include <vector>

namespace fettle::simt {

struct SeenRange {
    std::string name;
    int depth = 0;
    bool ended = false;
};
struct Profiler {
    bool there = false;
    std::vector<SeenRange> ranges;  ///< in the order of their beginnings
    std::vector<std::size_t> open;  ///< the innermost last
    int strayEnds = 0;              ///< ends without a beginning
    int calls = 0;                  ///< pushes and pops
};
Profiler& profiler();

}  // namespace fettle::simt
