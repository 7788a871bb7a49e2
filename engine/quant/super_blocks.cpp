#include "engine/quant/super_blocks.h"

#include <algorithm>
#include <cstring>

#include "engine/io/kquant_encode.h"

namespace fettle {

namespace {

using kernels::WeightFormat;

constexpr std::int64_t kSuper = 256;
constexpr float kTinyScale = 1e-20F;

float halfAt(const std::uint8_t* bytes) {
    std::uint16_t half;
    std::memcpy(&half, bytes, sizeof half);
    return kernels::halfToFloat(half);
}

/// Of sub-block `s`: values are scale * (code + shift), codes centred on zero.
GroupGrid gridOf(WeightFormat format, const std::uint8_t* block, int s) {
    float scale = 0, min = 0, middle = 0;
    if (format == WeightFormat::Q3_K) {
        scale = halfAt(block + 108) * static_cast<float>(kernels::threeBitScale(block + 96, s));
    } else if (format == WeightFormat::Q6_K) {
        scale = halfAt(block + 208) * static_cast<float>(static_cast<std::int8_t>(block[192 + s]));
    } else {
        const kernels::SubScale sub = kernels::subScale(block + 4, s);
        scale = halfAt(block) * static_cast<float>(sub.scale);
        min = halfAt(block + 2) * static_cast<float>(sub.min);
        middle = format == WeightFormat::Q4_K ? 8 : 16;
    }
    if (scale == 0)
        return {kTinyScale, -min / kTinyScale};
    return {scale, middle - min / scale};
}

}  // namespace

SuperBlocks::SuperBlocks(const QuantScheme& scheme, const std::vector<float>& values,
                         std::int64_t rows, std::int64_t cols, const float* inputPower,
                         kernels::WorkerPool& pool, RunControl& control) {
    m_tensor.scheme = scheme;
    m_tensor.rows = rows;
    m_tensor.cols = cols;
    const std::size_t rowBytes = kernels::rowBytes(scheme.format, cols);
    m_tensor.codes = Tensor::allocateBytes(DType::Block, {rows, cols},
                                           static_cast<std::size_t>(rows) * rowBytes);
    auto* out = m_tensor.codes.mutableAs<std::byte>();
    pool.parallelFor(rows, 4, [&](std::int64_t begin, std::int64_t end, int /*thread*/) {
        for (std::int64_t r = begin; r < end && !control.cancelled(); ++r)
            encodeKQuantRow(scheme.format, values.data() + r * cols, inputPower, cols,
                            out + static_cast<std::size_t>(r) * rowBytes);
    });
    control.check();
}

std::vector<GroupGrid> SuperBlocks::grids() const {
    const WeightFormat format = m_tensor.scheme.format;
    const auto perBlock = static_cast<int>(kSuper / m_tensor.scheme.groupSize);
    const std::size_t blockBytes = kernels::blockBytes(format);
    std::vector<GroupGrid> grids;
    for (std::size_t at = 0; at < m_tensor.codes.bytes(); at += blockBytes)
        for (int s = 0; s < perBlock; ++s)
            grids.push_back(gridOf(format, m_tensor.codes.as<std::uint8_t>() + at, s));
    return grids;
}

void SuperBlocks::setCodes(const std::vector<std::int8_t>& codes, kernels::WorkerPool& pool) {
    const WeightFormat format = m_tensor.scheme.format;
    const std::size_t rowBytes = kernels::rowBytes(format, m_tensor.cols);
    auto* out = m_tensor.codes.mutableAs<std::byte>();
    pool.parallelFor(m_tensor.rows, 16, [&](std::int64_t begin, std::int64_t end, int /*thread*/) {
        for (std::int64_t r = begin; r < end; ++r)
            storeKQuantCodes(format, codes.data() + r * m_tensor.cols, m_tensor.cols,
                             out + static_cast<std::size_t>(r) * rowBytes);
    });
}

}  // namespace fettle
