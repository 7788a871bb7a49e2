// Rotation of the residual stream, folded into the weights (QuaRot, Ashkboos et al. 2024, arXiv
// 2404.00456): x' = x R with an orthogonal R leaves RMSNorm's result the same but for R, once the
// norms' weights are multiplied into the matrices that read them. Weights and activations then have
// no outlier channels. Values of each head are rotated likewise between v and o. Exact but for the
// rounding of the weights' type.
//
// R = D (Q x H): random signs, then a Hadamard matrix of the largest power of two that divides the
// size, then for what is left a random orthogonal matrix across its blocks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/model/model.h"
#include "kernels/ops/worker_pool.h"

namespace fettle {

class Rotation {
public:
    Rotation(std::int64_t size, std::uint64_t seed);
    std::int64_t size() const { return m_size; }
    /// `data` [outer, size, inner]: every vector along the middle becomes v R. Twice is not once:
    /// the inverse is its transpose.
    void apply(float* data, std::int64_t outer, std::int64_t inner,
               kernels::WorkerPool& pool) const;

private:
    void applyTo(float* block, std::int64_t inner, std::int64_t begin, std::int64_t end,
                 std::vector<float>& scratch) const;

    std::int64_t m_size;
    std::int64_t m_hadamard;     // its power of two
    std::vector<float> m_signs;  // [size]
    std::vector<float> m_mix;    // [blocks, blocks], empty for one block
};

/// Why `model` cannot be rotated, in words for the user; empty if it can.
std::string rotationRefusal(const Model& model);

/// The steps of rotating a model, so that it can be done one layer at a time. All of them with the
/// same seed make a model that computes the same. Matrices become float32; those of the embedding
/// and the head keep their type.
class ModelRotation {
public:
    /// Throws EngineError(Usage) with rotationRefusal() where there is one.
    ModelRotation(const Model& model, std::uint64_t seed, kernels::WorkerPool& pool);
    /// Embedding, final norm and head.
    void rotateEnds(Model& model) const;
    void rotateLayer(Model& model, std::int64_t layer) const;

private:
    void readsStream(Model& model, const std::string& name, const std::vector<float>& norm,
                     bool keepType) const;
    void writesStream(Model& model, const std::string& module) const;
    void rotateValues(Model& model, const std::string& layer) const;
    std::vector<float> takeNorm(Model& model, const std::string& name) const;

    kernels::WorkerPool& m_pool;
    Rotation m_stream;
    Rotation m_head;
};

}  // namespace fettle
