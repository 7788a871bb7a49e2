// CUDA twins of the row-wise and element-wise ops of training (kernels/ops/elementwise_backward.h,
// loss.h, adamw.h) and the Hadamard transform. The same bits every time: nothing is added in an
// order that chance decides. Pointers are device memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/stream.h"

namespace fettle::kernels::cuda {

enum class Activation : std::uint8_t { Silu, GeluTanh };

/// Of out = act(gate) * up, and for a null gate of out = act(up): gradients dGate, dUp [count].
Status gatedBackward(Activation activation, const float* gate, const float* up, const float* dOut,
                     std::int64_t count, float* dGate, float* dUp, Stream stream);
/// dy *= 1 - (y / cap)^2, y the capped values.
Status softcapBackward(const float* y, float cap, float* dy, std::int64_t count, Stream stream);
/// y += factor * x
Status addScaled(float* y, const float* x, float factor, std::int64_t count, Stream stream);
/// The gradient of rope() in place: rotates back. Arguments as there.
Status ropeBackward(float* dy, std::int64_t tokens, std::int64_t stride, std::int64_t heads,
                    std::int64_t headDim, const float* cosSin, Stream stream);
/// out[t] = factor * table[ids[t]], added to what is there with `accumulate`; rows of `cols`. Ids
/// lie in the table.
Status gatherRows(const float* table, std::int64_t cols, const std::int32_t* ids,
                  std::int64_t tokens, float factor, bool accumulate, float* out, Stream stream);
/// grad[ids[t]] += factor * dy[t], the tokens of an id in their order. Ids lie in the vocabulary.
Status embeddingBackward(const std::int32_t* ids, std::int64_t tokens, const float* dy,
                         std::int64_t cols, float factor, float* grad, Stream stream);

enum class StoredType : std::uint8_t { F32, F16, BF16 };
/// y = x, rounded to what a file of the type holds; y may be x.
Status copyRounded(const float* x, std::int64_t count, StoredType type, float* y, Stream stream);
/// y = 0 where zero[i] is not 0.
Status clearMasked(float* y, const std::uint8_t* zero, std::int64_t count, Stream stream);
/// y [rows, cols] += bias [cols] in every row.
Status addBias(float* y, const float* bias, std::int64_t rows, std::int64_t cols, Stream stream);
/// sums [cols] += the sum over rows of x [rows, cols], made over fixed blocks of rows.
Status addRowSums(const float* x, std::int64_t rows, std::int64_t cols, float* sums,
                  float* workspace, Stream stream);
/// Floats of its workspace.
std::size_t rowSumsWorkspace(std::int64_t rows, std::int64_t cols);
/// *sum = the sum of squares in double, made over parts that the count alone decides. workspace:
/// kSquareParts doubles.
Status sumSquares(const float* x, std::int64_t count, double* workspace, double* sum,
                  Stream stream);
constexpr int kSquareParts = 1024;

/// losses[r] = -log softmax(logits[r])[targets[r]] in nats; logits [rows, count] become
/// (softmax - onehot) * scale. A target < 0 is not scored: 0, and zeros.
Status crossEntropyRows(float* logits, std::int64_t rows, std::int64_t count,
                        const std::int32_t* targets, float scale, double* losses, Stream stream);
/// losses[r] = T^2 KL(softmax(teacher / T) || softmax(student / T)) in nats (Hinton et al. 2015);
/// the student's logits become T (p_student - p_teacher) * scale. Targets may be null: all scored.
Status distillRows(float* student, const float* teacher, std::int64_t rows, std::int64_t count,
                   const std::int32_t* targets, float temperature, float scale, double* losses,
                   Stream stream);
/// What is known of a teacher's rows: see distillTopRow in kernels/ops/loss.h.
struct TopRows {
    std::int64_t top = 0;
    const std::int32_t* ids = nullptr;  ///< [rows, top]
    const float* logits = nullptr;      ///< [rows, top]
    const float* rest = nullptr;        ///< [rows] of all others together
    float* scratch = nullptr;           ///< [rows, top + 1]

    template <class Check>
    void forEachPointer(Check check) const {
        check(ids), check(logits), check(rest), check(scratch);
    }
};
/// The same against the likeliest tokens of the teacher and all others together.
Status distillTopRows(float* student, const TopRows& teacher, std::int64_t rows, std::int64_t count,
                      const std::int32_t* targets, float temperature, float scale, double* losses,
                      Stream stream);

/// Loshchilov & Hutter 2019, algorithm 2; names as in kernels/ops/adamw.h.
struct AdamWStep {
    std::int64_t count = 0;
    float learningRate = 0;
    float beta1 = 0.9F, beta2 = 0.95F, epsilon = 1e-8F;
    float decay = 0, gradScale = 1, correction1 = 1, correction2 = 1;
};
Status adamw(float* value, const float* grad, float* m, float* v, const AdamWStep& step,
             Stream stream);

/// Each `size` neighbouring values of x [count] times the orthonormal Walsh-Hadamard matrix, in
/// place; size is a power of two from 32 to 4096, count a multiple of it. Its own inverse.
Status hadamard(float* x, std::int64_t count, std::int64_t size, Stream stream);

}  // namespace fettle::kernels::cuda
