#include "engine/decode/generator.h"

#include <algorithm>

namespace fettle {

namespace {

// Length of the longest prefix of `text` that does not end inside a UTF-8 sequence.
std::size_t wholeUtf8(const std::string& text) {
    std::size_t i = text.size();
    for (int back = 0; back < 4 && i > 0; ++back) {
        const unsigned char c = static_cast<unsigned char>(text[--i]);
        if ((c & 0xC0) == 0x80)
            continue;
        const std::size_t length = c < 0x80 ? 1 : c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
        return i + length <= text.size() ? text.size() : i;
    }
    return text.size();
}

}  // namespace

GenerateReport generate(Transformer& transformer, const Tokenizer& tokenizer,
                        const std::vector<std::int32_t>& prompt, const GenerateOptions& options,
                        RunControl& control,
                        const std::function<void(const std::string&)>& onPiece) {
    if (prompt.empty())
        throw EngineError(ErrorKind::Usage, "the prompt is empty: there is nothing to continue");
    GenerateReport report;
    Sampler sampler(options.sampling);
    KvCache cache =
        transformer.makeCache(static_cast<std::int64_t>(prompt.size()) + options.maxNewTokens);
    const double start = steadySeconds();
    transformer.forward(prompt, cache, &control);
    double firstToken = start;
    std::size_t shown = 0;
    for (int i = 0; i < options.maxNewTokens; ++i) {
        control.check();
        if (i > 0)
            transformer.forward(std::span<const std::int32_t>(&report.ids.back(), 1), cache,
                                &control);
        const std::int32_t id =
            sampler.sample(transformer.lastLogits(), transformer.config().vocabularySize);
        if (i == 0)
            firstToken = steadySeconds();
        const auto& stops = tokenizer.stopIds();
        if (!options.ignoreStop && std::find(stops.begin(), stops.end(), id) != stops.end()) {
            report.stopped = true;
            break;
        }
        report.ids.push_back(id);
        // Decoding the whole answer each time keeps decoders right that look at neighbouring
        // tokens.
        report.text = tokenizer.decode(report.ids);
        const std::size_t whole = wholeUtf8(report.text);
        if (onPiece && whole > shown)
            onPiece(report.text.substr(shown, whole - shown));
        shown = std::max(shown, whole);
    }
    const double end = steadySeconds();
    report.ttftMs = (firstToken - start) * 1e3;
    if (report.ids.size() > 1 && end > firstToken)
        report.decodeTokensPerSecond =
            static_cast<double>(report.ids.size() - 1) / (end - firstToken);
    return report;
}

}  // namespace fettle
