// y = x W^T (+ bias) for every weight format. Weights are packed once into a layout that decode (m
// = 1) reads at memory speed and prefill (m > 1) computes at full rate; the result of a row does
// not depend on how many rows are computed together (batch invariance), nor on the number of
// threads: each output is one chain of sums in K order.
//
// Integer and E2M1 formats multiply integers: activations are quantized on the fly as
// activationsOf(weight) says (int8 per token for Int8Channel, the W8A8 scheme; per 32 values of a
// token for all group and block formats; or E2M1, whose values doubled are integers too), products
// are summed exactly in int32 and scaled once per group. Plain formats multiply in float32, and so
// do Fp8Channel, MxFp8, Fp8Group, MxFp6 and Nf4Group, whose codes are widened in registers; BF16
// multiplies bfloat16 where that is asked for, which takes half the instructions. On a processor
// whose tiles multiply bfloat16 (AMX) BF16 goes there either way: rounded activations as they are,
// others as three numbers that add up to them (cpu/amx/panel_tiles.h).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/cpu/packed_layout.h"
#include "kernels/formats/weight_format.h"
#include "kernels/ops/products.h"
#include "kernels/ops/worker_pool.h"

namespace fettle::kernels {

/// A weight in kernel layout (cpu/packed_layout.h), the same for every instruction set. Owns its
/// memory (64-byte aligned). Immutable after packing; may be shared by threads.
class PackedWeight {
public:
    PackedWeight() = default;
    /// Packs in parallel. cols must be a multiple of the format's block (32 for the group
    /// formats) and of the activations'; any number of rows. Products::BFloat16 needs
    /// hasBf16Products() (cpu/isa.h).
    static PackedWeight pack(const WeightView& weight, WorkerPool& pool,
                             Products products = Products::Float32);

    bool empty() const { return m_data == nullptr; }
    WeightFormat format() const { return m_format; }
    std::int64_t rows() const { return m_rows; }
    std::int64_t cols() const { return m_cols; }
    std::size_t bytes() const { return m_bytes; }  ///< what it occupies, padding included
    const std::byte* data() const { return m_data.get(); }
    const PackedLayout& layout() const { return m_layout; }
    /// Whether products run in the format's own arithmetic; false for Fp8Channel and the formats of
    /// isWidened(), which no instruction here multiplies: they are widened to float32.
    bool native() const { return m_format != WeightFormat::Fp8Channel && !isWidened(m_format); }

private:
    struct Free {
        void operator()(std::byte* p) const;
    };
    std::unique_ptr<std::byte[], Free> m_data;
    std::size_t m_bytes = 0;
    std::int64_t m_rows = 0;
    std::int64_t m_cols = 0;
    PackedLayout m_layout;
    WeightFormat m_format = WeightFormat::F32;
};

/// A batch of activations [m, k] and its quantized forms, made when first needed and shared by all
/// weights that multiply it (q/k/v; gate/up). Reuse one object: it keeps its buffers.
class Activations {
public:
    /// Borrows x [m, stride]; earlier quantized forms are dropped.
    void assign(const float* x, std::int64_t m, std::int64_t k, std::int64_t stride);
    const float* data() const { return m_x; }
    std::int64_t rows() const { return m_m; }
    std::int64_t cols() const { return m_k; }
    std::int64_t stride() const { return m_stride; }

    /// int8 codes with their scales and code sums; per token (group = k) or per `group` values, 32
    /// or 16.
    struct Quantized {
        std::int64_t group = 0;
        std::int64_t codeStride =
            0;  ///< k padded to 64, and off the multiples of 1024 (cache sets)
        std::vector<std::int8_t> codes;  ///< [m, codeStride], padding 0
        std::vector<float> scales;  ///< [k/group, m]: the rows of a register tile are neighbours
        std::vector<std::int32_t> sums;      ///< [k/group, m] of codes
        std::vector<float> weightedSums;     ///< [k/group, m] scale * sum
        std::vector<std::int32_t> halfSums;  ///< [k/16, m] of codes; not per token
        std::vector<std::int32_t> starts;    ///< see startsFor
        std::int64_t startsKey = -1;         ///< what `starts` was made for
        float globalScale = 1;  ///< of NvFp4 and Int8Tensor, what the scales were made with
        bool valid = false;
    };
    /// The quantized form `layout` multiplies, with the integers its sums start from: -zero * sum
    /// of codes.
    const Quantized& startsFor(const PackedLayout& layout, WorkerPool& pool);
    /// [m, k] rounded to E4M3: Fp8Token or MxFp8.
    const float* roundedToFp8(ActivationFormat format, WorkerPool& pool);
    /// [m, ceil(k/2)] pairs of neighbours rounded to bfloat16.
    const std::uint32_t* bfloat16Pairs(WorkerPool& pool);
    /// What a layout with tileParts multiplies, as TileKernels (cpu/kernel_table.h) reads it.
    const std::uint32_t* tileRows(const PackedLayout& layout, WorkerPool& pool);

private:
    Quantized& formFor(const PackedLayout& layout, WorkerPool& pool);

    const float* m_x = nullptr;
    std::int64_t m_m = 0, m_k = 0, m_stride = 0;
    Quantized m_perToken, m_perTensor;
    /// [format][group 16 instead of 32]
    std::array<std::array<Quantized, 2>, kActivationFormats> m_grouped;
    std::vector<std::uint32_t> m_pairs;
    bool m_hasPairs = false;
    struct alignas(64) TileRow {
        std::array<std::uint32_t, 16> pairs;
    };
    std::vector<TileRow> m_tileRows;
    int m_tileParts = 0;  ///< what they were made for; 0: nothing
    std::vector<float> m_fp8;
    ActivationFormat m_fp8Format = ActivationFormat::None;  ///< what it holds; None: nothing
};

/// y[m, w.rows()] (row stride `yStride`) = x W^T + bias; `bias` may be null. `accumulate` adds to
/// what y holds.
struct MatmulTarget {
    const PackedWeight* weight;
    float* y;  ///< [m, weight->rows()], row stride yStride
    std::int64_t yStride;
    const float* bias;  ///< [weight->rows()] or null
    bool accumulate;
};

/// Several products of the same activations, in as few parallel sections as possible.
void matmul(std::span<const MatmulTarget> targets, Activations& x, WorkerPool& pool);
void matmul(const PackedWeight& w, Activations& x, float* y, std::int64_t yStride,
            const float* bias, bool accumulate, WorkerPool& pool);

/// out[r]: column of the largest value of row r of x W^T + bias, the lowest on ties; `softcap` > 0:
/// of softcap * tanh(value / softcap). `bias` may be null. The product itself goes nowhere: of a
/// vocabulary of 262,144 eight rows of it are 8 MiB, which would be written and read again.
void matmulArgmax(const PackedWeight& w, Activations& x, const float* bias, float softcap,
                  WorkerPool& pool, std::int64_t* out);

}  // namespace fettle::kernels
