// A Network on a CUDA device: the same passes with the kernels of kernels/cuda and cuBLAS, weights,
// gradients and activations in the device's memory. Everything is added up in a fixed order, so the
// same run gives the same bits on one device; against the CPU sums are in another order. Where an
// activation lies between two codes of a rounding, it may thus take the other one.
//
// Parameters lie in the order of Network::parameters(), each at a multiple of 64 floats with zeros
// between; buffers of that layout have size() floats.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "engine/backend/cuda_backend.h"
#include "engine/train/network.h"
#include "engine/train/train_engine.h"
#include "kernels/cuda/attention_train.h"
#include "kernels/cuda/fake_quant.h"
#include "kernels/cuda/norm_backward.h"
#include "kernels/cuda/train.h"

namespace fettle {

/// Device memory, as much as was ever asked for.
template <class T>
class DeviceArray {
public:
    /// At least `count` values; what was there is gone where it has to grow.
    T* fit(CudaBackend& backend, std::int64_t count) {
        const auto bytes = static_cast<std::size_t>(count) * sizeof(T);
        if (!m_buffer || m_buffer->bytes() < bytes) {
            m_buffer.reset();  // first, so that both need not fit
            m_buffer = backend.allocate(bytes);
        }
        return data();
    }
    T* data() const { return m_buffer ? static_cast<T*>(m_buffer->data()) : nullptr; }

private:
    std::unique_ptr<DeviceBuffer> m_buffer;
};

class DeviceNetwork {
public:
    /// Copies the values of `network`, which must outlive this and stay as it is but for its
    /// values.
    DeviceNetwork(const Network& network, CudaBackend& backend, bool checkpointing, bool bf16);

    /// See TrainDevice.
    static std::string whyNot(const ModelConfig& config, const TrainLoss& loss);

    const ModelConfig& config() const { return m_config; }
    std::int64_t size() const { return m_size; }
    /// Takes the values of the network.
    void load();
    /// Between a vector in the order of Network::values() and device memory of size() floats.
    void copyIn(const std::vector<float>& from, float* to);
    void copyOut(const float* from, std::vector<float>& to);

    /// What the optimizer moves. Asking for it makes the next pass look again.
    float* values() {
        m_stale = true;
        return m_values.data();
    }
    const float* currentValues() const { return m_values.data(); }
    float* grads() { return m_grads.data(); }
    /// Where a parameter of the network begins.
    std::int64_t placeOf(std::size_t parameter) const { return m_places[parameter]; }
    /// Where a value of the network lies, given by its place there.
    std::int64_t placeOfValue(std::int64_t offset) const;

    LossSums accumulate(const TrainBatch& batch, const TrainLoss& loss, float scale,
                        DeviceNetwork* teacher, RunControl* control);
    LossSums evaluate(const TrainBatch& batch, const TrainLoss& loss, DeviceNetwork* teacher,
                      RunControl* control);
    void eachLogits(const TrainBatch& batch, RunControl* control,
                    const std::function<void(std::int64_t, std::int64_t, const float*)>& body);
    void finishGradients();
    void zeroGrads();

private:
    using Floats = DeviceArray<float>;
    using Place = std::int64_t;  // in buffers of the layout; negative: the model has none

    struct Norm {
        Place w = -1, b = -1;
    };
    struct Linear {
        Place w = -1, b = -1;
        std::int64_t rows = 0;
        kernels::ActivationFormat rounding = kernels::ActivationFormat::None;
        float inputScale = 1;
    };
    struct Layer {
        Norm attnNorm, qNorm, kNorm, postAttnNorm, ffnNorm, postFfnNorm;
        Linear q, k, v, o, gate, up, down;
        std::int64_t window = 0;
        std::size_t rope = 0;
    };
    /// What the gradient of a layer needs of its forward pass; as in Network, but that queries,
    /// keys, values, gates and inner values lie by themselves.
    struct Saved {
        Floats qRaw, kRaw, q, k, v, attention, logSumExp, attnBranch, ffnBranch, middle, gate, up;
    };
    struct Rope {
        RopeConfig config;
        Floats table, angles;  // [positions, headDim], [tokens, headDim]
        std::int64_t positions = 0;
    };
    /// A weight that passes through its codes.
    struct Codes {
        const Network::QuantizedParameter* of = nullptr;
        Place values = 0, scales = -1;
        Floats start, shift, scale;
        kernels::cuda::StoredScale stored = kernels::cuda::StoredScale::F32;
    };
    /// One of the products that share an input.
    struct Output {
        const Linear& linear;
        float* y;  ///< of backward: its gradient, read only
    };

    Place placeOf(const std::string& name) const;
    Norm normAt(const std::string& name) const;
    Linear linearAt(const std::string& name) const;
    void addLayers();
    void addCodes();
    void check(kernels::cuda::Status status, const char* what) const {
        m_backend.check(status, what);
    }
    const float* weight(Place at) const { return m_used + at; }
    float* grad(Place at) { return m_grads.data() + at; }

    void deploy();
    kernels::cuda::FakeQuantArgs codeArgs(const Codes& codes) const;
    void begin(const TrainBatch& batch);
    void embed();
    void forwardLayers(const TrainBatch& batch, bool keep, RunControl* control);
    void forwardLayer(const Layer& layer, const float* x, float* out, Saved& saved);
    void backwardLayer(const Layer& layer, const float* x, float* dx, Saved& saved);
    void norm(const Norm& norm, const float* x, float* y, std::int64_t rows, std::int64_t cols);
    void normBackward(const Norm& norm, const float* x, const float* dy, float* dx,
                      std::int64_t rows, std::int64_t cols, bool accumulate);
    void rotate(const Layer& layer, float* q, float* k, bool back);
    kernels::cuda::AttentionTrainArgs attentionArgs(const Layer& layer, const Saved& saved) const;
    const float* activate(const Saved& saved);
    void copy(float* to, const float* from, std::int64_t count);
    void add(float* to, const float* from, std::int64_t count);
    void multiply(kernels::cuda::BlasGemm gemm);
    const void* narrowed(const void* x, std::int64_t rows, std::int64_t cols, std::int64_t* stride,
                         DeviceArray<std::uint16_t>& room);
    /// x [rows, cols] as the product of `linear` multiplies it, valid until the next call; `last`
    /// is the product that this was asked for before with the same x, or null.
    const float* multiplied(const Linear& linear, const Linear* last, const float* x,
                            std::int64_t rows, std::int64_t cols);
    void linears(const float* x, std::int64_t cols, std::initializer_list<Output> outputs);
    void linearsBackward(const float* x, std::int64_t cols, std::initializer_list<Output> outputs,
                         float* dx);
    std::int64_t headRows() const;
    void headLogits(std::int64_t first, std::int64_t count, float* out);
    LossSums runHead(const TrainBatch& batch, const TrainLoss& loss, float scale,
                     DeviceNetwork* teacher, bool gradient, RunControl* control);
    void takeKnownRows(const TeacherRows& known, const TrainLoss& loss);
    double sumOf(const double* device);

    const Network& m_network;
    const ModelConfig& m_config;
    CudaBackend& m_backend;
    kernels::cuda::Stream m_stream;
    bool m_checkpointing, m_bf16;
    std::int64_t m_qSize = 0, m_kvSize = 0, m_size = 0;
    std::vector<Place> m_places;
    Floats m_values, m_deployed, m_grads;
    const float* m_used = nullptr;  ///< m_deployed of a quantized network, else m_values
    bool m_stale = true;            ///< m_deployed does not follow from m_values
    std::vector<Codes> m_codes;
    std::vector<Layer> m_layers;
    std::vector<Rope> m_ropes;
    Place m_embedding = -1, m_positions = -1;
    Norm m_finalNorm;
    Linear m_head;

    std::int64_t m_tokens = 0;
    // Of each token: id, place in its sequence, first and end of its sequence, target.
    DeviceArray<std::int32_t> m_ids, m_position, m_firsts, m_ends, m_targets, m_topIds;
    std::vector<Floats> m_layerInputs;  ///< and the last output
    std::vector<Saved> m_saved;
    Floats m_normed, m_inner, m_branch, m_hidden, m_dx, m_dNormed, m_dInner, m_dGate, m_dUp, m_dq,
        m_dk, m_dv, m_delta, m_sums, m_rounded, m_logits, m_second, m_cap, m_topLogits, m_topRest,
        m_topScratch;
    DeviceArray<std::uint16_t> m_narrowA, m_narrowB;
    DeviceArray<double> m_losses;
    std::vector<double> m_hostLosses;
};

/// Trains on the device of `backend`, which must outlive what is made; null where it is no
/// CudaBackend.
std::unique_ptr<TrainDevice> cudaTrainDevice(Backend& backend);

}  // namespace fettle
