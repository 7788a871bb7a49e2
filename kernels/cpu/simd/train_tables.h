// What the simd files of training offer each other and the level's table. Simd files only.
#pragma once

#include "kernels/cpu/simd/vec16.h"
#include "kernels/cpu/train_table.h"

namespace fettle::kernels::FETTLE_SIMD {

#if defined(__AVX512F__)
constexpr int kGemmRows = 12, kGemmVectors = 2;
#elif defined(__AVX2__)
constexpr int kGemmRows = 6, kGemmVectors = 1;
#else
constexpr int kGemmRows = 2, kGemmVectors = 1;
#endif
constexpr std::int64_t kGemmWidth = 16 * kGemmVectors;

void gemmBlock(const GemmBlock* block);
std::int64_t gemmPanelFloats(std::int64_t steps);
void gemmPack(const GemmPack* piece);
std::int64_t attentionScratchFloats(std::int64_t tokens, std::int64_t headDim);
void attentionForward(const AttentionTrainArgs* args, const AttentionUnit* unit, float* scratch);
void attentionBackward(const AttentionTrainArgs* args, const AttentionGrads* grads,
                       const AttentionUnit* unit, float* scratch);
std::int64_t attentionMatchFloats(std::int64_t tokens, std::int64_t headDim,
                                  std::int64_t teacherDim);
double attentionMatch(const AttentionTrainArgs* student, const AttentionTrainArgs* teacher,
                      const AttentionUnit* unit, const std::int32_t* scored, float weight,
                      float* dq, float* dk, float* scratch);
void rmsNormBackward(const NormBackwardArgs* args, std::int64_t begin, std::int64_t end, float* dw);
void layerNormBackward(const NormBackwardArgs* args, std::int64_t begin, std::int64_t end,
                       float* dw, float* db);
void siluMulBackward(const GatedBackwardArgs* args, std::int64_t begin, std::int64_t end);
void geluTanhMulBackward(const GatedBackwardArgs* args, std::int64_t begin, std::int64_t end);
void geluTanhBackward(const GatedBackwardArgs* args, std::int64_t begin, std::int64_t end);
void gatedForward(const GatedForwardArgs* args, std::int64_t begin, std::int64_t end);
void softcapBackward(const float* y, float cap, float* dy, std::int64_t count);
void addScaled(float* y, const float* x, float factor, std::int64_t count);
double crossEntropyRow(float* logits, std::int64_t count, std::int64_t target, float scale);
double distillRow(float* student, const float* teacher, std::int64_t count, float temperature,
                  float scale);
double logSumExpRow(const float* x, std::int64_t count, float factor);
void expRow(float* x, std::int64_t count, float factor, float shift, float scale);
double sumSquares(const float* x, std::int64_t count);
void roundToBfloat16(const float* x, std::int64_t count, float* out, std::uint16_t* kept);
void widenBfloat16(const std::uint16_t* x, std::int64_t count, float* out);
void adamw(const AdamWArgs* args, std::int64_t begin, std::int64_t end);
void fakeQuant(const FakeQuantArgs* args, std::int64_t begin, std::int64_t end, float* out);
void fakeQuantBackward(const FakeQuantArgs* args, bool ofStep, std::int64_t begin, std::int64_t end,
                       float* grad, float* dScale);
void fakeQuantRow(const ActivationRounding* rounding, const float* x, std::int64_t cols,
                  float* out);

}  // namespace fettle::kernels::FETTLE_SIMD
