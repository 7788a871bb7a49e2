#include "engine/quant/calibration.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <sstream>
#include <unordered_set>

#include "engine/core/error.h"
#include "engine/core/random.h"
#include "engine/eval/text_windows.h"

namespace fettle {

namespace {

// Shorter lines are alike by chance.
constexpr std::size_t kLineLength = 40;
// Rows that are taken in together: enough for a product to be worth the sums it is added to.
constexpr std::int64_t kRowsTogether = 1024;
constexpr std::int64_t kSumGrain = 32;
constexpr std::int64_t kSumRows = 16;
// Columns of the gram that are computed together, from their own row on: the rest is its mirror.
constexpr std::int64_t kGramBlock = 256;
// What a half of a layer computes is kept for the next step up to here; beyond it is computed
// again.
constexpr std::size_t kKeptBytes = std::size_t{256} << 20;
// Every sixteenth stretch of tokens shows whether what the others teach about drift is true of
// them; neighbours are alike, so it is stretches and not single tokens.
constexpr std::int64_t kHoldEvery = 16;
constexpr std::int64_t kHoldStretch = 128;
constexpr std::int64_t kHeldRows = 512;

std::string calibrationText(const std::string& path) {
    std::string text = readText(path);
    if (!path.ends_with(".jsonl"))
        return text;
    std::istringstream lines(text);
    std::string joined, line;
    for (std::int64_t number = 1; std::getline(lines, line); ++number) {
        if (line.find_first_not_of(" \t\r") == std::string::npos)
            continue;
        const nlohmann::json value = nlohmann::json::parse(line, nullptr, false);
        if (!value.is_object() || !value.contains("text") || !value["text"].is_string())
            throwBadInput(path, "line " + std::to_string(number) +
                                    " is not a JSON object with a string \"text\"");
        joined += value["text"].get<std::string>() + "\n";
    }
    return joined;
}

std::vector<std::string> longLines(const std::string& path) {
    std::istringstream text(calibrationText(path));
    std::vector<std::string> lines;
    for (std::string line; std::getline(text, line);)
        if (line.size() >= kLineLength)
            lines.push_back(line);
    return lines;
}

}  // namespace

CalibrationText sampleCalibration(const Tokenizer& tokenizer, const std::string& path,
                                  std::int64_t tokens, std::int64_t length, std::uint64_t seed) {
    MeasureOptions options;
    options.context = static_cast<int>(length);
    options.maxTokens = 0;
    options.protocol = PerplexityProtocol::Plain;
    std::vector<TextWindow> windows = makeWindows(tokenizer, calibrationText(path), options);
    const std::size_t wanted =
        static_cast<std::size_t>(std::max<std::int64_t>(1, (tokens + length - 1) / length));
    // Every token's inputs weigh the same, so the short rest of the text is as good as the others
    // only where there is nothing else.
    if (windows.size() > 1 && windows.back().ids.size() < static_cast<std::size_t>(length))
        windows.pop_back();
    if (windows.empty())
        throwBadInput(path, "holds too little text to calibrate with");
    std::vector<std::size_t> chosen(windows.size());
    std::iota(chosen.begin(), chosen.end(), 0);
    if (wanted < windows.size()) {
        Philox random(seed);
        for (std::size_t i = 0; i < wanted; ++i)
            std::swap(chosen[i], chosen[i + random.below(windows.size() - i)]);
        chosen.resize(wanted);
        std::sort(chosen.begin(), chosen.end());
    }
    CalibrationText out;
    for (const std::size_t i : chosen) {
        out.tokens += static_cast<std::int64_t>(windows[i].ids.size());
        out.sequences.push_back(std::move(windows[i].ids));
    }
    return out;
}

CalibrationText firstOf(const CalibrationText& text, std::int64_t tokens) {
    CalibrationText first;
    for (const std::vector<std::int32_t>& ids : text.sequences) {
        if (first.tokens >= tokens)
            break;
        first.sequences.push_back(ids);
        first.tokens += static_cast<std::int64_t>(ids.size());
    }
    return first;
}

double textOverlap(const std::string& calibration, const std::string& evaluation) {
    const std::vector<std::string> lines = longLines(calibration), others = longLines(evaluation);
    const std::unordered_set<std::string> known(others.begin(), others.end());
    const auto shared = std::count_if(lines.begin(), lines.end(), [&](const std::string& line) {
        return known.count(line) != 0;
    });
    return lines.empty() ? 0 : static_cast<double>(shared) / static_cast<double>(lines.size());
}

void warnOfOverlap(RunControl& control, const std::string& what, const std::string& text,
                   const std::string& evaluation) {
    // Names, headings and the like stand in any two texts of a kind.
    constexpr double kWorthAWarning = 0.01;
    const double shared = evaluation.empty() ? 0 : textOverlap(text, evaluation);
    if (shared > kWorthAWarning)
        control.warn(what + " shares " + std::to_string(std::lround(shared * 100)) +
                     "% of its lines with the evaluation text: the measured accuracy is too good");
}

InputCollector::InputCollector(std::int64_t cols, std::int64_t tokens, bool gram,
                               std::int64_t sampleRows, kernels::WorkerPool& pool)
    : m_pool(pool),
      m_squares(static_cast<std::size_t>(cols)),
      m_magnitudes(static_cast<std::size_t>(cols)),
      m_sums(static_cast<std::size_t>(cols)),
      m_expected(std::max<std::int64_t>(1, tokens)),
      m_keep(std::min(sampleRows, m_expected)) {
    m_statistics.cols = cols;
    m_statistics.maximum.resize(static_cast<std::size_t>(cols));
    if (gram)
        m_statistics.gram.resize(static_cast<std::size_t>(cols * cols));
}

void InputCollector::add(const float* x, std::int64_t rows, const float* plain) {
    const std::int64_t count = rows * m_statistics.cols;
    m_waiting.insert(m_waiting.end(), x, x + count);
    if (plain)
        m_waitingPlain.insert(m_waitingPlain.end(), plain, plain + count);
    if (static_cast<std::int64_t>(m_waiting.size()) >= kRowsTogether * m_statistics.cols)
        flush();
}

/// A column's sums are one thread's, in the order of the tokens.
void InputCollector::addSums(const float* x, std::int64_t rows) {
    InputStatistics& s = m_statistics;
    const std::int64_t cols = s.cols;
    m_pool.parallelFor(cols, kSumGrain, [&](std::int64_t begin, std::int64_t end, int /*thread*/) {
        for (std::int64_t first = begin; first < end; first += kSumGrain) {
            const std::int64_t width = std::min(kSumGrain, end - first);
            std::array<float, kSumGrain> maximum{}, token{};
            for (std::int64_t row = 0; row < rows; row += kSumRows) {
                // A few tokens are added up in float32, which takes several columns at a time.
                std::array<float, kSumGrain> squares{}, magnitudes{}, sums{};
                for (std::int64_t r = row; r < std::min(rows, row + kSumRows); ++r) {
                    std::copy_n(x + r * cols + first, width, token.begin());
                    for (std::size_t j = 0; j < token.size(); ++j) {
                        const float value = token[j], magnitude = std::fabs(value);
                        squares[j] += value * value;
                        magnitudes[j] += magnitude;
                        sums[j] += value;
                        maximum[j] = maximum[j] < magnitude ? magnitude : maximum[j];
                    }
                }
                for (std::int64_t j = 0; j < width; ++j) {
                    const auto at = static_cast<std::size_t>(first + j),
                               i = static_cast<std::size_t>(j);
                    m_squares[at] += squares[i];
                    m_magnitudes[at] += magnitudes[i];
                    m_sums[at] += sums[i];
                }
            }
            for (std::int64_t j = 0; j < width; ++j) {
                float& most = s.maximum[static_cast<std::size_t>(first + j)];
                most = std::max(most, maximum[static_cast<std::size_t>(j)]);
            }
        }
    });
}

void InputCollector::flush() {
    InputStatistics& s = m_statistics;
    const std::int64_t cols = s.cols, rows = static_cast<std::int64_t>(m_waiting.size()) /
                                             std::max<std::int64_t>(1, cols);
    if (rows == 0)
        return;
    const float* x = m_waiting.data();
    addSums(x, rows);
    for (std::int64_t r = 0; r < rows; ++r) {
        // Token t is kept where t * keep / expected reaches the next whole number.
        if ((s.tokens + r) * m_keep / m_expected >= s.sampleRows && s.sampleRows < m_keep) {
            s.sample.insert(s.sample.end(), x + r * cols, x + (r + 1) * cols);
            ++s.sampleRows;
        }
    }
    s.tokens += rows;
    if (!s.gram.empty())
        for (std::int64_t j = 0; j < cols; j += kGramBlock)
            kernels::gemm({kernels::GemmLayout::TN, cols - j, std::min(kGramBlock, cols - j), rows,
                           x + j, cols, x + j, cols, s.gram.data() + j * cols + j, cols, true},
                          m_scratch, m_pool);
    if (!m_waitingPlain.empty())
        addDrift(x, rows);
    m_waiting.clear();
    m_waitingPlain.clear();
}

bool InputCollector::holdsBack(std::int64_t token) const {
    const std::int64_t stretch = std::clamp<std::int64_t>(m_expected / kHoldEvery, 1, kHoldStretch);
    return token / stretch % kHoldEvery == kHoldEvery - 1;
}

/// Of the tokens that flush() has just counted.
void InputCollector::addDrift(const float* x, std::int64_t rows) {
    InputDrift& drift = m_statistics.drift;
    const std::int64_t cols = m_statistics.cols;
    drift.product.resize(static_cast<std::size_t>(cols * cols));
    float* lost = m_waitingPlain.data();
    m_pool.parallelFor(rows, 64, [&](std::int64_t begin, std::int64_t end, int /*thread*/) {
        for (std::int64_t i = begin * cols; i < end * cols; ++i)
            lost[i] -= x[i];
    });
    for (std::int64_t r = 0; r < rows; ++r) {
        if (!holdsBack(m_statistics.tokens - rows + r))
            continue;
        ++m_held;
        if (drift.heldRows < kHeldRows) {
            ++drift.heldRows;
            drift.heldInputs.insert(drift.heldInputs.end(), x + r * cols, x + (r + 1) * cols);
            drift.heldDrift.insert(drift.heldDrift.end(), lost + r * cols, lost + (r + 1) * cols);
        }
        std::fill_n(lost + r * cols, cols, 0.0f);
    }
    kernels::gemm({kernels::GemmLayout::TN, cols, cols, rows, lost, cols, x, cols,
                   drift.product.data(), cols, true},
                  m_scratch, m_pool);
}

InputStatistics InputCollector::finish() {
    flush();
    InputStatistics& s = m_statistics;
    const double count = static_cast<double>(std::max<std::int64_t>(1, s.tokens));
    for (std::size_t j = 0; j < m_squares.size(); ++j) {
        s.meanSquare.push_back(static_cast<float>(m_squares[j] / count));
        s.meanMagnitude.push_back(static_cast<float>(m_magnitudes[j] / count));
        s.mean.push_back(static_cast<float>(m_sums[j] / count));
    }
    for (std::int64_t i = 0; !s.gram.empty() && i < s.cols; ++i)
        for (std::int64_t j = i + 1; j < s.cols; ++j)
            s.gram[static_cast<std::size_t>(i * s.cols + j)] =
                s.gram[static_cast<std::size_t>(j * s.cols + i)];
    for (float& value : s.gram)
        value = static_cast<float>(value / count);
    const double used = std::max(1.0, count - static_cast<double>(m_held));
    for (float& value : s.drift.product)
        value = static_cast<float>(value / used);
    return std::move(m_statistics);
}

CalibrationStream::CalibrationStream(Transformer& transformer, const CalibrationText& text,
                                     kernels::WorkerPool& pool, RunControl& control)
    : m_transformer(transformer), m_pool(pool), m_control(control), m_tokens(text.tokens) {
    const std::int64_t width = transformer.config().hiddenSize;
    for (const std::vector<std::int32_t>& ids : text.sequences) {
        m_hidden.emplace_back(ids.size() * static_cast<std::size_t>(width));
        transformer.embedTokens(ids, m_hidden.back().data());
    }
}

InputStatistics CalibrationStream::gather(std::int64_t cols, bool gram, std::int64_t sampleRows,
                                          CalibrationStream* plain, const Input& input) {
    InputCollector collector(cols, m_tokens, gram, sampleRows, m_pool);
    for (std::size_t i = 0; i < m_hidden.size(); ++i) {
        m_control.check();
        const std::vector<float>& x = m_hidden[i];
        const auto rows = static_cast<std::int64_t>(x.size()) / m_transformer.config().hiddenSize;
        collector.add(input(*this, x.data(), rows), rows,
                      plain ? input(*plain, plain->m_hidden[i].data(), rows) : nullptr);
    }
    return collector.finish();
}

InputStatistics CalibrationStream::collect(std::int64_t layer, Half half, bool inner, bool gram,
                                           std::int64_t sampleRows, CalibrationStream* plain,
                                           bool keep) {
    const ModelConfig& c = m_transformer.config();
    const std::int64_t cols = !inner                    ? c.hiddenSize
                              : half == Half::Attention ? c.heads * c.headDim
                                                        : c.feedForwardSize;
    for (CalibrationStream* stream : {this, plain})
        if (stream) {
            stream->m_inner.clear();
            stream->m_keeps =
                keep && inner &&
                static_cast<std::size_t>(m_tokens * cols) * sizeof(float) <= kKeptBytes;
        }
    return gather(cols, gram, sampleRows, plain,
                  [&](CalibrationStream& stream, const float* x, std::int64_t rows) {
                      if (!inner)
                          return stream.m_transformer.halfInput(layer, half, x, rows);
                      const float* values = stream.m_transformer.halfInner(layer, half, x, rows);
                      if (stream.m_keeps)
                          stream.m_inner.emplace_back(values, values + rows * cols);
                      return values;
                  });
}

InputStatistics CalibrationStream::collectFinal(bool gram, std::int64_t sampleRows,
                                                CalibrationStream* plain) {
    return gather(m_transformer.config().hiddenSize, gram, sampleRows, plain,
                  [](CalibrationStream& stream, const float* x, std::int64_t rows) {
                      return stream.m_transformer.finalInput(x, rows);
                  });
}

void CalibrationStream::visit(std::int64_t layer, Half half, bool inner, const Visitor& visitor) {
    for (const std::vector<float>& x : m_hidden) {
        m_control.check();
        const auto rows = static_cast<std::int64_t>(x.size()) / m_transformer.config().hiddenSize;
        visitor(inner ? m_transformer.halfInner(layer, half, x.data(), rows)
                      : m_transformer.halfInput(layer, half, x.data(), rows),
                rows);
    }
}

void CalibrationStream::visitFinal(const Visitor& visitor) {
    for (const std::vector<float>& x : m_hidden) {
        m_control.check();
        const auto rows = static_cast<std::int64_t>(x.size()) / m_transformer.config().hiddenSize;
        visitor(m_transformer.finalInput(x.data(), rows), rows);
    }
}

void CalibrationStream::advance(std::int64_t layer, Half half) {
    const bool kept = m_inner.size() == m_hidden.size();
    for (std::size_t i = 0; i < m_hidden.size(); ++i) {
        m_control.check();
        std::vector<float>& x = m_hidden[i];
        const auto rows = static_cast<std::int64_t>(x.size()) / m_transformer.config().hiddenSize;
        if (kept)
            m_transformer.finishHalf(layer, half, m_inner[i].data(), x.data(), rows);
        else
            m_transformer.runHalf(layer, half, x.data(), rows);
    }
    m_inner.clear();
}

std::vector<float> CalibrationStream::state() const {
    std::vector<float> all;
    for (const std::vector<float>& x : m_hidden)
        all.insert(all.end(), x.begin(), x.end());
    return all;
}

void CalibrationStream::setState(const std::vector<float>& state) {
    std::size_t at = 0;
    for (std::vector<float>& x : m_hidden) {
        if (state.size() - at < x.size())
            throw EngineError(ErrorKind::Internal, "the calibration stream is of another text");
        std::copy_n(state.begin() + static_cast<std::ptrdiff_t>(at), x.size(), x.begin());
        at += x.size();
    }
    if (at != state.size())
        throw EngineError(ErrorKind::Internal, "the calibration stream is of another text");
}

}  // namespace fettle
