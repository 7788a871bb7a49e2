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

constexpr std::size_t kLongStretch = 64, kNeighbours = 8;  // tokens

// Keeps the answer as it grows and tells what each round added.
class Answer {
public:
    Answer(const Tokenizer& tokenizer, bool ignoreStop, GenerateReport& report,
           const PieceHandler& onPiece)
        : m_tokenizer(tokenizer), m_ignoreStop(ignoreStop), m_report(report), m_onPiece(onPiece) {}

    /// Appends what a round gave, up to the first stop.
    void take(const Round& round) {
        std::vector<TokenPiece> pieces;
        std::string added;
        const auto& stops = m_tokenizer.stopIds();
        const std::vector<int>& accepted = round.verdict.accepted;
        for (std::size_t i = 0; i < round.tokens.size() && !m_report.stopped; ++i) {
            const std::int32_t id = round.tokens[i];
            m_report.stopped =
                !m_ignoreStop && std::find(stops.begin(), stops.end(), id) != stops.end();
            if (m_report.stopped)
                break;
            m_report.ids.push_back(id);
            if (!m_onPiece)
                continue;
            TokenPiece piece = i < accepted.size()
                                   ? drafted(round, accepted[i], TokenPiece::Origin::Accepted)
                                   : TokenPiece{};
            if (piece.node < 0 && !accepted.empty())
                piece.parent = accepted.back();
            piece.text = newText();
            piece.round = m_round;
            added += piece.text;
            pieces.push_back(std::move(piece));
        }
        if (!m_onPiece)
            return;  // nobody reads along: the text is made once, of the whole answer
        for (int node = 0; node < round.draft.size(); ++node) {
            if (std::find(accepted.begin(), accepted.end(), node) != accepted.end())
                continue;
            pieces.push_back(drafted(round, node, TokenPiece::Origin::Rejected));
            pieces.back().text = alone(round.draft.nodes[static_cast<std::size_t>(node)].token);
            pieces.back().round = m_round;
        }
        ++m_round;
        m_onPiece(added, pieces);
    }

private:
    static TokenPiece drafted(const Round& round, int node, TokenPiece::Origin origin) {
        const DraftNode& from = round.draft.nodes[static_cast<std::size_t>(node)];
        TokenPiece piece;
        piece.origin = origin;
        piece.node = node;
        piece.parent = from.parent;
        piece.confidence = from.confidence;
        return piece;
    }

    // Decoders look at neighbouring tokens, so that a stretch of the answer is decoded and what it
    // has become longer by is new. The stretch moves along: the work does not grow with the answer.
    std::string newText() {
        const std::string stretch = decodedFrom(m_from);
        const std::size_t whole = wholeUtf8(stretch);
        if (whole <= m_shown)
            return {};
        std::string text = stretch.substr(m_shown, whole - m_shown);
        m_shown = whole;
        if (whole == stretch.size() && m_report.ids.size() - m_from > kLongStretch) {
            m_from = m_report.ids.size() - kNeighbours;
            m_shown = decodedFrom(m_from).size();
        }
        return text;
    }
    std::string decodedFrom(std::size_t first) const {
        return m_tokenizer.decode(
            {m_report.ids.begin() + static_cast<std::ptrdiff_t>(first), m_report.ids.end()});
    }

    std::string alone(std::int32_t id) const {
        const std::string text = m_tokenizer.decode({id}, false);
        return text.substr(0, wholeUtf8(text));
    }

    const Tokenizer& m_tokenizer;
    bool m_ignoreStop;
    GenerateReport& m_report;
    const PieceHandler& m_onPiece;
    std::size_t m_from = 0;   ///< token that the stretch begins with
    std::size_t m_shown = 0;  ///< bytes of the stretch
    std::int64_t m_round = 0;
};

}  // namespace

GenerateReport generate(Transformer& transformer, const Tokenizer& tokenizer,
                        const std::vector<std::int32_t>& prompt, const GenerateOptions& options,
                        RunControl& control, const PieceHandler& onPiece) {
    if (prompt.empty())
        throw EngineError(ErrorKind::Usage, "the prompt is empty: there is nothing to continue");
    GenerateReport report;
    report.promptTokens = static_cast<std::int64_t>(prompt.size());
    SpeculativeDecoder decoder(transformer, options.proposer, options.draftLength, options.sampling,
                               static_cast<std::int64_t>(prompt.size()) + options.maxNewTokens,
                               options.tree);
    Answer answer(tokenizer, options.ignoreStop, report, onPiece);
    const double start = steadySeconds();
    const std::int32_t first = decoder.begin(prompt, control);
    const double firstToken = steadySeconds();
    Round prefill;
    prefill.tokens.push_back(first);
    answer.take(prefill);
    while (!report.stopped && static_cast<int>(report.ids.size()) < options.maxNewTokens) {
        answer.take(
            decoder.next(options.maxNewTokens - static_cast<int>(report.ids.size()), control));
    }
    const double end = steadySeconds();
    report.text = tokenizer.decode(report.ids);
    report.ttftMs = (firstToken - start) * 1e3;
    if (report.ids.size() > 1 && end > firstToken)
        report.decodeTokensPerSecond =
            static_cast<double>(report.ids.size() - 1) / (end - firstToken);
    report.weightBytes = transformer.weightBytes();
    report.cacheBytes = static_cast<std::uint64_t>(transformer.config().kvBytesPerToken()) *
                        (prompt.size() + report.ids.size());
    if (options.proposer) {
        const SpeculationCounts& counts = decoder.counts();
        report.weightBytes += options.proposer->bytes();
        report.speculation =
            SpeculationReport{options.proposer->description(), counts.drafted, counts.accepted,
                              100 * counts.acceptanceRate(), counts.meanAcceptedLength()};
    }
    return report;
}

}  // namespace fettle
