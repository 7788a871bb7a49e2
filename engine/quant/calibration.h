// What calibration text tells about the inputs of linear weights, gathered layer by layer: only one
// layer's weights need to be prepared at a time, and the inputs of a layer come from whatever the
// layers before it have become ("sequential" calibration). For quantization and pruning alike.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/core/run_control.h"
#include "engine/model/transformer.h"
#include "engine/quant/input_statistics.h"
#include "kernels/ops/gemm.h"
#include "kernels/ops/worker_pool.h"

namespace fettle {

/// Token sequences to calibrate with.
struct CalibrationText {
    std::vector<std::vector<std::int32_t>> sequences;
    std::int64_t tokens = 0;
};
/// Cuts the text (or, of a .jsonl file, the "text" of every line) into sequences of `length` tokens
/// and draws as many of them by `seed` as make `tokens`; all of them where there are not that many.
/// Throws EngineError(BadInput) naming the file where nothing is left to draw from.
CalibrationText sampleCalibration(const Tokenizer& tokenizer, const std::string& path,
                                  std::int64_t tokens, std::int64_t length, std::uint64_t seed);
/// The first sequences of a text that make up `tokens`.
CalibrationText firstOf(const CalibrationText& text, std::int64_t tokens);
/// Share of the longer lines of `calibration` that also stand in `evaluation`, both paths.
double textOverlap(const std::string& calibration, const std::string& evaluation);
/// Warns where `text` (a path, `what` it is begins the message) shares more lines with the
/// evaluation text than any two texts of a kind do. Says nothing where `evaluation` is empty.
void warnOfOverlap(RunControl& control, const std::string& what, const std::string& text,
                   const std::string& evaluation);

class InputCollector {
public:
    /// `sampleRows` of `tokens` tokens to come are kept. The gram is a float32 product of some
    /// hundred tokens at a time, summed in their order: it does not depend on the number of
    /// threads.
    InputCollector(std::int64_t cols, std::int64_t tokens, bool gram, std::int64_t sampleRows,
                   kernels::WorkerPool& pool);
    /// x [rows, cols] without gaps; `plain` likewise for the drift, or null, the same in every
    /// call.
    void add(const float* x, std::int64_t rows, const float* plain = nullptr);
    InputStatistics finish();

private:
    /// Takes in what waits.
    void flush();
    void addSums(const float* x, std::int64_t rows);
    void addDrift(const float* x, std::int64_t rows);
    /// Whether a token's drift is held back.
    bool holdsBack(std::int64_t token) const;

    kernels::WorkerPool& m_pool;
    InputStatistics m_statistics;
    std::vector<double> m_squares, m_magnitudes, m_sums;
    std::vector<float> m_waiting, m_waitingPlain;  ///< rows of short sequences
    kernels::GemmScratch m_scratch;
    std::int64_t m_expected;
    std::int64_t m_keep;
    std::int64_t m_held = 0;  ///< tokens whose drift was held back, also where it was not kept
};

/// The sequences as they stand before some layer, [tokens, hiddenSize] each.
class CalibrationStream {
public:
    using Half = Transformer::Half;
    /// `transformer` works layer by layer and must outlive this.
    CalibrationStream(Transformer& transformer, const CalibrationText& text,
                      kernels::WorkerPool& pool, RunControl& control);

    /// Statistics of the input of q, k, v or gate, up (`inner` false), or of o or down (true), of
    /// the prepared layer. `plain`, the same text through the plain model and as far, gives the
    /// drift; null: none. With `keep` both streams keep inner inputs that are not too many for the
    /// next advance(), which then need not compute them again: for callers that change no weight
    /// before o or down until then.
    InputStatistics collect(std::int64_t layer, Half half, bool inner, bool gram,
                            std::int64_t sampleRows, CalibrationStream* plain = nullptr,
                            bool keep = false);
    /// Statistics of the head's input, after the last layer.
    InputStatistics collectFinal(bool gram, std::int64_t sampleRows,
                                 CalibrationStream* plain = nullptr);
    /// The same inputs as they are, a sequence at a time: x [rows, cols].
    using Visitor = std::function<void(const float* x, std::int64_t rows)>;
    void visit(std::int64_t layer, Half half, bool inner, const Visitor& visitor);
    void visitFinal(const Visitor& visitor);
    /// Moves the stream past the half.
    void advance(std::int64_t layer, Half half);

    std::int64_t tokens() const { return m_tokens; }
    /// All sequences one after the other [tokens, hiddenSize], and back: to go on from later.
    std::vector<float> state() const;
    /// Throws EngineError(Internal) for a state of another text or model.
    void setState(const std::vector<float>& state);

private:
    using Input = std::function<const float*(CalibrationStream&, const float*, std::int64_t)>;
    InputStatistics gather(std::int64_t cols, bool gram, std::int64_t sampleRows,
                           CalibrationStream* plain, const Input& input);

    Transformer& m_transformer;
    kernels::WorkerPool& m_pool;
    RunControl& m_control;
    std::int64_t m_tokens;
    std::vector<std::vector<float>> m_hidden;  // per sequence
    std::vector<std::vector<float>> m_inner;   // likewise, as long as they are kept
    bool m_keeps = false;
};

}  // namespace fettle
