// Named ranges of the calling thread for a profiler. NVTX looks one up when the first range begins:
// the library that the profiler names in NVTX_INJECTION64_PATH. Without one the functions return at
// once.
#pragma once

namespace fettle::kernels::cuda {

/// Whether there is a profiler.
bool rangesAreSeen();
void pushRange(const char* name);
void popRange();

}  // namespace fettle::kernels::cuda
