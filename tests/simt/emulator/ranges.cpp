#include "tests/simt/emulator/ranges.h"

#include "kernels/cuda/ranges.h"

namespace fettle::simt {

Profiler& profiler() {
    static Profiler one;
    return one;
}

}  // namespace fettle::simt

namespace fettle::kernels::cuda {

bool rangesAreSeen() {
    return simt::profiler().there;
}

void pushRange(const char* name) {
    simt::Profiler& p = simt::profiler();
    ++p.calls;
    p.open.push_back(p.ranges.size());
    p.ranges.push_back({name, static_cast<int>(p.open.size()) - 1, false});
}

void popRange() {
    simt::Profiler& p = simt::profiler();
    ++p.calls;
    if (p.open.empty()) {
        ++p.strayEnds;
        return;
    }
    p.ranges[p.open.back()].ended = true;
    p.open.pop_back();
}

}  // namespace fettle::kernels::cuda
