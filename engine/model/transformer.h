// The decoder-only forward pass: one implementation that follows a ModelConfig, for every family.
// Weights are handed to the backend once, in its own layout; activations live in buffers that are
// reused, so decoding allocates nothing. Vaswani et al. 2017; rope: Su et al. 2021; RMSNorm: Zhang
// & Sennrich 2019; gated units: Shazeer 2020. One thread at a time. Numbers of a token do not
// depend on how many tokens are run together.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/backend/device_work.h"
#include "engine/core/run_control.h"
#include "engine/model/kv_cache.h"
#include "engine/model/model.h"

namespace fettle {

class Transformer {
public:
    /// Prepares all weights of `model` on `backend`; `model`'s embedding stays in use for lookups.
    /// Throws EngineError(BadInput) for a missing or misshapen tensor. `control` may be null.
    Transformer(const Model& model, Backend& backend, RunControl* control = nullptr);

    /// For work that goes through a model layer by layer, so that only one layer's weights are
    /// held: nothing is prepared until prepareLayer(). Only the functions on halves, embedTokens()
    /// and finalInput() may then be called.
    struct LayerByLayer {};
    Transformer(const Model& model, Backend& backend, LayerByLayer);

    const ModelConfig& config() const { return m_config; }
    Backend& backend() const { return m_backend; }
    /// Of the model's own type, or of another.
    KvCache makeCache(std::int64_t capacity) const { return makeCache(capacity, m_config.kvType); }
    KvCache makeCache(std::int64_t capacity, kernels::KvType type) const;

    /// Sees the input of each linear weight: canonical weight name, x [rows, cols], row stride.
    using LinearObserver =
        std::function<void(const std::string& name, const float* x, std::int64_t rows,
                           std::int64_t cols, std::int64_t stride)>;
    /// For calibration; x is host memory. Pass an empty function to switch off.
    void observeLinears(LinearObserver observer) { m_observer = std::move(observer); }

    /// Sees the residual stream before layer `layer`, and after the last one (layer = layerCount):
    /// x [rows, hiddenSize] without gaps.
    using BlockObserver =
        std::function<void(std::int64_t layer, const float* x, std::int64_t rows)>;
    /// For rankings of layers; x is host memory. Pass an empty function to switch off.
    void observeBlocks(BlockObserver observer) { m_blockObserver = std::move(observer); }

    /// One flag per layer: true leaves it out.
    using SkippedLayers = std::vector<bool>;

    /// Runs `ids` after what `cache` holds and appends them to it. Afterwards hiddenStates() are
    /// theirs. Tokens are run in chunks that keep the activations small; `control` is polled in
    /// every layer. With `skipped` the tokens pass those layers unchanged, which then have nothing
    /// in the cache for them: such tokens are guesses, to be truncated away again. With `parents`
    /// the ids are the last of parents.size() nodes of a tree (at most kernels::kMostTreeTokens)
    /// whose earlier ones the cache holds already: parents[j], an earlier node, is what node j
    /// follows, -1 the text before the tree. A node's numbers are those it would have after its
    /// ancestors alone.
    void forward(std::span<const std::int32_t> ids, KvCache& cache, RunControl* control = nullptr,
                 const SkippedLayers* skipped = nullptr,
                 std::span<const std::int32_t> parents = {});
    /// Of a bare model (ModelConfig::bare): where the states of `rows` tokens go, [rows,
    /// hiddenSize] in device memory, that forwardStates() runs. Throws EngineError(Internal) for
    /// more tokens than one pass takes, kMostStates.
    static constexpr std::int64_t kMostStates = 512;
    float* statesIn(std::int64_t rows);
    /// Runs them after what `cache` holds, as forward() does with tokens. Gives what comes out of
    /// the last layer, [rows, hiddenSize] in device memory, valid until the next call.
    const float* forwardStates(std::int64_t rows, KvCache& cache, RunControl* control = nullptr,
                               std::span<const std::int32_t> parents = {});
    /// [tokens of the last forward, hiddenSize], after the final norm; device memory.
    const float* hiddenStates() const { return static_cast<const float*>(m_hidden->data()); }
    std::int64_t hiddenRows() const { return m_hiddenRows; }
    /// Logits [count, vocabulary] of rows [first, first + count) of the last forward, on the host.
    void logits(std::int64_t first, std::int64_t count, float* out);
    /// The same in device memory, valid until the next call.
    const float* deviceLogits(std::int64_t first, std::int64_t count);
    /// Logits [rows, vocabulary] of x [rows, hiddenSize] after the final norm; both on the host.
    void headLogits(const float* x, std::int64_t rows, float* out);
    /// Logits of the last row, on the host, in an internal buffer.
    const float* lastLogits();
    /// The likeliest tokens after rows [first, first + count) of the last forward, the lowest on
    /// ties; on the host. Logits stay where they are made.
    void likeliest(std::int64_t first, std::int64_t count, std::int64_t* ids);
    std::int32_t likeliestLast();
    /// The token that `rule` draws from the last row's logits with `random` in [0, 1); nothing on
    /// devices that leave this to the host.
    std::optional<std::int32_t> drawLast(const kernels::cuda::SamplingRule& rule, float random);

    /// A decoder layer is two halves around residual connections: attention (norm; q, k, v; o) and
    /// feed-forward (norm; gate, up; down). Below, x [tokens, hiddenSize] is one sequence from its
    /// start; pointers, results too, are host memory.
    enum class Half : std::uint8_t { Attention, FeedForward };
    /// Prepares layer `index` of `model` and drops the one prepared before.
    void prepareLayer(const Model& model, std::int64_t index, RunControl* control);
    /// Takes linear weight `name` of the layer prepared, and its bias, from `model` anew.
    void refreshLinear(const Model& model, const std::string& name);
    /// What the model's first layer sees of `ids`.
    void embedTokens(std::span<const std::int32_t> ids, float* x);
    /// Input of q, k, v or of gate, up: [tokens, hiddenSize]; valid until the next call.
    const float* halfInput(std::int64_t layer, Half half, const float* x, std::int64_t tokens);
    /// Input of o [tokens, heads * headDim] or of down [tokens, feedForwardSize]; likewise.
    const float* halfInner(std::int64_t layer, Half half, const float* x, std::int64_t tokens);
    /// Replaces x by what the half makes of it.
    void runHalf(std::int64_t layer, Half half, float* x, std::int64_t tokens);
    /// The same where halfInner() has given `inner` before.
    void finishHalf(std::int64_t layer, Half half, const float* inner, float* x,
                    std::int64_t tokens);
    /// Input of the head [tokens, hiddenSize] for x after the last layer; likewise.
    const float* finalInput(const float* x, std::int64_t tokens);

    /// These inputs stay where they are from here on: the pointers are device memory.
    void leaveInputsOnDevice() { m_inputsStay = true; }

    /// Puts another weight of the same shape in the place of `name` ("layers.3.attn.q.weight",
    /// "lm_head.weight"): what one weight does to the model is seen without preparing all of them
    /// again. Throws EngineError(Usage) for a name that is no linear weight of the model.
    void replaceLinear(const std::string& name, const Weight& weight);

    /// Bytes of all weights as the device holds them, and whether it multiplies all of them
    /// natively: not where it has to take them out of their format first, and not where two of
    /// each four weights are zero (2:4), since no backend has a kernel that leaves these out.
    std::uint64_t weightBytes() const;
    bool native() const;

private:
    struct Linear {
        std::string name;
        std::unique_ptr<DeviceWeight> weight;
        std::unique_ptr<DeviceBuffer> bias;  // may be absent
        // Low-rank correction: y += out (in x); absent where there is none.
        std::unique_ptr<DeviceWeight> lowRankIn, lowRankOut;
    };
    struct Norm {
        std::unique_ptr<DeviceBuffer> weight;
        std::unique_ptr<DeviceBuffer> bias;  // may be absent
    };
    struct Layer {
        Norm attnNorm, qNorm, kNorm, postAttnNorm, ffnNorm, postFfnNorm;
        Linear q, k, v, o, gate, up, down;
        std::size_t ropeTable = 0;
    };

    void loadLayer(const Model& model, std::int64_t index, RunControl* control);
    /// Prepared before; enters its layer (enterLayer). Throws EngineError(Usage) where there is
    /// none.
    Linear& linearNamed(const std::string& name);
    void setWeight(Linear& linear, const Weight& weight);
    Linear loadLinear(const Model& model, const std::string& name, std::int64_t rows,
                      std::int64_t cols, RunControl* control);
    Norm loadNorm(const Model& model, const std::string& name, std::int64_t size) const;
    void reserve(std::int64_t tokens);
    void extendRope(std::int64_t positions);
    void embed(std::span<const std::int32_t> ids, std::int64_t past);
    void rotate(const Layer& layer, std::int64_t m, std::int64_t past);
    /// Position of token `index` of `m` that are run behind `past` others.
    std::int64_t positionOf(std::int64_t index, std::int64_t m, std::int64_t past) const;
    void checkRoom(std::int64_t tokens, std::span<const std::int32_t> parents,
                   const KvCache& cache) const;
    void runLayers(std::int64_t m, KvCache& cache, RunControl* control,
                   const SkippedLayers* skipped);
    void runChunk(std::span<const std::int32_t> ids, KvCache& cache, RunControl* control,
                  const SkippedLayers* skipped, float* hidden);
    void runAttention(Layer& layer, std::int64_t index, std::int64_t m, KvCache& cache);
    /// Everything before o, into m_attn; keys and values go to layer `cacheIndex` of the cache.
    void attend(Layer& layer, std::int64_t index, std::int64_t m, KvCache& cache,
                std::int64_t cacheIndex);
    void attentionOutput(Layer& layer, std::int64_t m);
    void runFeedForward(Layer& layer, std::int64_t m);
    /// Everything before down; returns where its input lies.
    float* expand(Layer& layer, std::int64_t m);
    void contract(Layer& layer, const float* inner, std::int64_t m);
    void startHalf(const float* x, std::int64_t tokens);
    void leaveHalf(std::int64_t layer, Half half, const float* inner, float* x,
                   std::int64_t tokens);
    float* innerOf(std::int64_t layer, Half half, const float* x, std::int64_t tokens);
    /// Device values for a reader on the host; valid until the next call.
    const float* onHost(const float* x, std::int64_t count);
    /// As leaveInputsOnDevice() says.
    const float* inputFor(const float* x, std::int64_t count);
    void writeLogits(const float* hidden, std::int64_t rows, float* out);
    void normalize(const Norm& norm, const float* x, std::int64_t rows, std::int64_t cols,
                   float* y) const;
    void linear(const float* x, std::int64_t m, std::int64_t k,
                std::initializer_list<std::pair<const Linear*, float*>> outputs);
    float* buffer(const std::unique_ptr<DeviceBuffer>& b) const {
        return static_cast<float*>(b->data());
    }

    ModelConfig m_config;
    Backend& m_backend;
    Weight m_embedding;
    Weight m_positions;
    std::vector<Layer> m_layers;
    Norm m_finalNorm;
    Linear m_head;
    bool m_twoFour = false;  ///< some weight is pruned 2:4
    bool m_inputsStay = false;
    LinearObserver m_observer;
    BlockObserver m_blockObserver;

    struct RopeTable {
        RopeConfig config;
        // [positions, headDim]: headDim/2 cosines, then sines
        std::unique_ptr<DeviceBuffer> cosSin;
        std::int64_t positions = 0;
    };
    std::vector<RopeTable> m_rope;

    std::unique_ptr<KvCache> m_sequenceCache;  // one layer, for work on halves
    std::span<const std::int32_t> m_tree;      // parents, while a tree is run
    std::int64_t m_reserved = 0;
    std::int64_t m_hiddenRows = 0;
    std::int64_t m_hiddenCapacity = 0;
    std::unique_ptr<DeviceBuffer> m_x, m_normed, m_q, m_k, m_v, m_attn, m_gate, m_up, m_branch,
        m_hidden, m_logits, m_rank;
    // What the host reads or writes where device memory is not its own.
    std::vector<float> m_embedded, m_read, m_lastLogits;
};

}  // namespace fettle
