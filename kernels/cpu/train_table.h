// The fast kernels of training on one instruction-set level, as plain functions over raw memory;
// see kernel_table.h for why there are only aggregates and declarations here.
#pragma once

#include <cstdint>

#include "kernels/ops/adamw.h"
#include "kernels/ops/attention_train.h"
#include "kernels/ops/elementwise_backward.h"
#include "kernels/ops/fake_quant.h"
#include "kernels/ops/loss.h"

namespace fettle::kernels {

/// One block of a product. a(i, k) lies at a[i * aRow + k * aStep]; one of the two is 1. b is
/// packed: panels of `width` columns, each as GemmKernels::pack lays it.
struct GemmBlock {
    std::int64_t rows, cols, k;
    const float* a;
    std::int64_t aRow, aStep;
    const float* b;
    std::int64_t panelStride;  // elements between panels of b
    float* c;
    std::int64_t cStride;
    bool accumulate;
};

/// One piece of b to pack: `cols` <= width columns, `k` steps; column j of step i is
/// from[j * column + i * step]. Columns beyond `cols` become zero. `to` lies at a multiple of 64
/// bytes.
struct GemmPack {
    const float* from;
    std::int64_t column, step, cols, k;
    float* to;
};

/// How products are computed: `rows` of a, `width` columns of b at a time.
struct GemmKernels {
    std::int64_t width, rows;
    std::int64_t (*panelFloats)(std::int64_t steps);  ///< memory of a packed panel of b
    std::int64_t unitPanels;  ///< of b that a block of rows, packed once, is worth
    void (*block)(const GemmBlock* block);
    void (*pack)(const GemmPack* piece);
};

/// Attention of one sequence and one key/value head, all its query heads.
struct AttentionUnit {
    std::int64_t firstToken, tokens, kvHead;
};

struct TrainTable {
    GemmKernels gemm;
    std::int64_t (*attentionScratch)(std::int64_t tokens, std::int64_t headDim);  // floats
    void (*attentionForward)(const AttentionTrainArgs* args, const AttentionUnit* unit,
                             float* scratch);
    void (*attentionBackward)(const AttentionTrainArgs* args, const AttentionGrads* grads,
                              const AttentionUnit* unit, float* scratch);
    std::int64_t (*attentionMatchScratch)(std::int64_t tokens, std::int64_t headDim,
                                          std::int64_t teacherDim);
    double (*attentionMatch)(const AttentionTrainArgs* student, const AttentionTrainArgs* teacher,
                             const AttentionUnit* unit, const std::int32_t* scored, float weight,
                             float* dq, float* dk, float* scratch);
    // Rows [begin, end); sums over rows are added to dw and db.
    void (*rmsNormBackward)(const NormBackwardArgs* args, std::int64_t begin, std::int64_t end,
                            float* dw);
    void (*layerNormBackward)(const NormBackwardArgs* args, std::int64_t begin, std::int64_t end,
                              float* dw, float* db);
    void (*siluMulBackward)(const GatedBackwardArgs* args, std::int64_t begin, std::int64_t end);
    void (*geluTanhMulBackward)(const GatedBackwardArgs* args, std::int64_t begin,
                                std::int64_t end);
    void (*geluTanhBackward)(const GatedBackwardArgs* args, std::int64_t begin, std::int64_t end);
    // gate [rows, cols], up likewise -> out; forward of the gated units without overwriting.
    void (*gatedForward)(const GatedForwardArgs* args, std::int64_t begin, std::int64_t end);
    void (*softcapBackward)(const float* y, float cap, float* dy, std::int64_t count);
    void (*addScaled)(float* y, const float* x, float factor, std::int64_t count);
    double (*crossEntropyRow)(float* logits, std::int64_t count, std::int64_t target, float scale);
    double (*distillRow)(float* student, const float* teacher, std::int64_t count,
                         float temperature, float scale);
    double (*logSumExpRow)(const float* x, std::int64_t count, float factor);
    // x becomes exp(x * factor - shift) * scale
    void (*expRow)(float* x, std::int64_t count, float factor, float shift, float scale);
    double (*sumSquares)(const float* x, std::int64_t count);
    void (*roundToBfloat16)(const float* x, std::int64_t count, float* out, std::uint16_t* kept);
    void (*widenBfloat16)(const std::uint16_t* x, std::int64_t count, float* out);
    void (*adamw)(const AdamWArgs* args, std::int64_t begin, std::int64_t end);
    // Rows [begin, end) of a weight; one row of activations, whose block is not 0.
    void (*fakeQuant)(const FakeQuantArgs* args, std::int64_t begin, std::int64_t end, float* out);
    void (*fakeQuantBackward)(const FakeQuantArgs* args, bool ofStep, std::int64_t begin,
                              std::int64_t end, float* grad, float* dScale);
    void (*fakeQuantRow)(const ActivationRounding* rounding, const float* x, std::int64_t cols,
                         float* out);
};

/// The level in use, see isa.h.
const TrainTable& trainKernels();
/// Products of that level of `columns` columns over `steps` steps of k, or those of bfloat16, which
/// want hasBf16Products().
const GemmKernels& gemmKernels(bool bf16, std::int64_t columns, std::int64_t steps);

}  // namespace fettle::kernels
