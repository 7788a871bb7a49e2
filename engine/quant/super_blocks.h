// GGUF's super-blocks as grids for methods that choose codes one at a time: the scales of a weight
// are fitted block by block first (engine/io/kquant_encode.h), then stay, and any codes may be put
// under them.
#pragma once

#include <vector>

#include "engine/core/run_control.h"
#include "engine/quant/group_quantizer.h"
#include "kernels/ops/worker_pool.h"

namespace fettle {

class SuperBlocks {
public:
    /// Blocks of a scheme that isSuperBlock() for `values` [rows, cols], cols a multiple of 256,
    /// fitted under `inputPower` [cols], the mean square of each input, or null. `codes` of the fit
    /// itself stand in them.
    SuperBlocks(const QuantScheme& scheme, const std::vector<float>& values, std::int64_t rows,
                std::int64_t cols, const float* inputPower, kernels::WorkerPool& pool,
                RunControl& control);
    /// The grids of all sub-blocks, [rows, cols / scheme.groupSize]. Shifts need not be whole. A
    /// sub-block whose scale is stored as zero gets a tiny one.
    std::vector<GroupGrid> grids() const;
    /// Puts codes [rows, cols] as GroupQuantizer::encode() gives them in the place of the fit's.
    void setCodes(const std::vector<std::int8_t>& codes, kernels::WorkerPool& pool);
    QuantizedTensor tensor() const { return m_tensor; }

private:
    QuantizedTensor m_tensor;
};

}  // namespace fettle
