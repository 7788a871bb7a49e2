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
    SpeculativeDecoder decoder(transformer, options.proposer, options.draftLength, options.sampling,
                               static_cast<std::int64_t>(prompt.size()) + options.maxNewTokens);
    const auto& stops = tokenizer.stopIds();
    std::size_t shown = 0;
    // Appends what a round gave, up to the first stop.
    const auto take = [&](std::span<const std::int32_t> ids) {
        for (const std::int32_t id : ids) {
            report.stopped =
                !options.ignoreStop && std::find(stops.begin(), stops.end(), id) != stops.end();
            if (report.stopped)
                break;
            report.ids.push_back(id);
        }
        // Decoding the whole answer each time keeps decoders right that look at neighbouring
        // tokens.
        report.text = tokenizer.decode(report.ids);
        const std::size_t whole = wholeUtf8(report.text);
        if (onPiece && whole > shown)
            onPiece(report.text.substr(shown, whole - shown));
        shown = std::max(shown, whole);
    };
    const double start = steadySeconds();
    const std::int32_t first = decoder.begin(prompt, control);
    const double firstToken = steadySeconds();
    take({&first, 1});
    while (!report.stopped && static_cast<int>(report.ids.size()) < options.maxNewTokens)
        take(decoder.next(options.maxNewTokens - static_cast<int>(report.ids.size()), control)
                 .tokens);
    const double end = steadySeconds();
    report.ttftMs = (firstToken - start) * 1e3;
    if (report.ids.size() > 1 && end > firstToken)
        report.decodeTokensPerSecond =
            static_cast<double>(report.ids.size() - 1) / (end - firstToken);
    if (options.proposer) {
        const SpeculationCounts& counts = decoder.counts();
        report.speculation =
            SpeculationReport{options.proposer->description(), counts.drafted, counts.accepted,
                              100 * counts.acceptanceRate(), counts.meanAcceptedLength()};
    }
    return report;
}

}  // namespace fettle
