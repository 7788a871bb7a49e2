// The fast CPU kernels of one instruction-set level, as plain functions over raw memory.
// cpu/simd/*.cpp is compiled once per level, each time into its own namespace; `kernels()` gives
// the table of the level in use. Only aggregates and declarations here: anything inline would be
// compiled with several instruction sets under one name, and the linker would be free to keep the
// one that this processor cannot run.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/packed_layout.h"
#include "kernels/ops/attention.h"
#include "kernels/ops/elementwise.h"

namespace fettle::kernels {

/// Quantized activations, see Activations::Quantized. What belongs to a group lies group-major, so
/// that the rows of a tile are neighbours: element (group, row) at group * stride + row.
struct IntActivations {
    const std::int8_t* codes;  // [m, codeStride]
    std::int64_t codeStride;
    const float* scales;         // [groups, stride]; [1, stride] per token
    const float* weightedSums;   // likewise, scale * sum of codes
    const std::int32_t* sums;    // likewise, of codes
    const std::int32_t* starts;  // likewise, -zero * sum; [2 groups, stride] for Sub16, per token
                                 // [spans of kExactGroups, stride]
    std::int64_t stride;
};

struct MatmulArgs {
    const std::uint8_t* weight;  // packed
    const PackedLayout* layout;
    IntActivations ints;  // integer formats
    const float* x;       // plain formats, [m, xStride]
    std::int64_t xStride;
    // Pairs of bfloat16. Layouts that roundsInputs, without tiles: [m, pairStride]; with tileParts
    // as TileKernels::packRow lays them.
    const std::uint32_t* pairs;
    std::int64_t pairStride;
    std::int64_t m;
    float* y;  // [m, yStride]
    std::int64_t yStride;
    const float* bias;  // [rows] or null
    bool accumulate;
};

/// Scratch memory every call of a panel kernel may use, bytes; 64-byte aligned.
constexpr std::size_t kMatmulScratch = 160 * 1024;

/// What one call of the attention kernel computes: some heads that share a key/value head, some
/// neighbouring tokens.
struct AttentionPart {
    std::int64_t kvHead;
    std::int64_t firstHead;
    std::int64_t heads;
    std::int64_t firstToken;
    std::int64_t tokens;  // heads * tokens <= kAttentionRows
};
constexpr std::int64_t kAttentionRows = 48;
/// Floats of scratch memory an attention call needs.
std::size_t attentionScratch(std::int64_t headDim);

/// Arguments of appendKv, attention.h.
struct KvAppend {
    const float* k;
    const float* v;
    std::int64_t stride;
    void* keys;
    void* values;
    KvType kvType;
    std::int64_t capacity, past, tokens, kvHeads, headDim;
};

/// One row of activations to int8 codes in groups of `group` values (32, or all of them).
struct QuantizedRow {
    const float* x;
    std::int64_t count;
    std::int64_t group;
    std::int8_t* codes;
    float* scales;  // of group g at g * stride, and so on
    std::int32_t* sums;
    float* weightedSums;
    std::int32_t* halfSums;  // of every 16 values; group 32 only
    std::int64_t stride;
    float fixed;  // the scale of a whole row where it is known beforehand, else 0
};

struct KernelTable {
    // Panels [begin, end) of y = x W^T, all m rows.
    void (*intPanels)(const MatmulArgs* args, std::int64_t begin, std::int64_t end, void* scratch);
    void (*plainPanels)(const MatmulArgs* args, WeightFormat format, std::int64_t begin,
                        std::int64_t end, void* scratch);
    void (*quantizeRow)(const QuantizedRow* row);
    void (*attentionRows)(const AttentionArgs* args, const AttentionPart* part, float* scratch);
    void (*appendKv)(const KvAppend* args);
    // As in elementwise.h.
    void (*rmsNorm)(const float* x, std::int64_t xStride, const float* w, float offset, float eps,
                    std::int64_t rows, std::int64_t cols, float* y, std::int64_t yStride);
    void (*layerNorm)(const float* x, std::int64_t xStride, const float* w, const float* b,
                      float eps, std::int64_t rows, std::int64_t cols, float* y,
                      std::int64_t yStride);
    void (*siluMul)(float* gate, const float* up, std::int64_t count);
    void (*geluTanhMul)(float* gate, const float* up, std::int64_t count);
    void (*geluTanh)(float* x, std::int64_t count);
    void (*add)(float* y, const float* x, std::int64_t count);
    void (*scale)(float* x, float factor, std::int64_t count);
    void (*softcap)(float* x, float cap, std::int64_t count);
    void (*rope)(float* x, std::int64_t heads, std::int64_t headDim, const float* cosSin);
    float (*maximum)(const float* x, std::int64_t count);  // NaN where the first one is
    std::int64_t (*argmax)(const float* x, std::int64_t count);
    void (*summarizeLogits)(const float* x, std::int64_t count, RowSummary* out);
    double (*klDivergence)(const float* p, float pLogSumExp, const float* q, float qLogSumExp,
                           std::int64_t count);
};

/// Products of bfloat16, layouts that roundsInputs.
struct Bfloat16Kernels {
    // Panels [begin, end) of y = x W^T, all m rows.
    void (*panels)(const MatmulArgs* args, std::int64_t begin, std::int64_t end);
    // x[0..count) to ceil(count / 2) pairs of neighbours, rounded to nearest, ties to even.
    void (*packRow)(const float* x, std::int64_t count, std::uint32_t* out);
};

/// Products on AMX's tiles, layouts with tileParts. Activations are laid by blocks of tileRows, of
/// which the last may be shorter: [block][32 steps of k][part][row][16 pairs], and kTileSlack pairs
/// behind the last, whatever they hold.
struct TileKernels {
    // Panels [begin, end) of y = x W^T, all m rows.
    void (*panels)(const MatmulArgs* args, std::int64_t begin, std::int64_t end, void* scratch);
    // One row, count a multiple of 32: part p of steps 32 b to 32 b + 31 to out + b * blockStride +
    // p * partStride.
    void (*packRow)(const float* x, std::int64_t count, int parts, std::uint32_t* out,
                    std::int64_t blockStride, std::int64_t partStride);
};
constexpr std::int64_t kTileSlack = 256;

/// The level in use, see isa.h.
const KernelTable& kernels();
/// Only where hasBf16Products().
const Bfloat16Kernels& bfloat16Kernels();
/// Only where hasBf16Tiles().
const TileKernels& tileKernels();

}  // namespace fettle::kernels
