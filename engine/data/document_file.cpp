#include "engine/data/document_file.h"

#include <xxhash.h>

#include <algorithm>
#include <cstdio>

#include "engine/io/mapped_file.h"
#include "engine/io/strict_json.h"
#include "engine/tokenizer/utf8.h"

namespace fettle {

namespace {

// A short text still has this many pieces, so that there is something to shuffle and to hold back.
constexpr std::uint64_t kLeastPieces = 64;
constexpr std::uint64_t kLeastPieceBytes = 256;
// How far beyond its size a piece may go to end at a blank line, and at a line.
constexpr std::uint64_t kBlankLineReach = 4;
constexpr std::uint64_t kHashStep = std::uint64_t{1} << 24;

bool isBlank(std::string_view text) {
    return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

std::string hashOf(const MappedFile& file, RunControl& control) {
    XXH3_state_t* state = XXH3_createState();
    const std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> owner(state,
                                                                                XXH3_freeState);
    XXH3_64bits_reset(state);
    const std::string_view text = file.text();
    for (std::size_t at = 0; at < text.size(); at += kHashStep) {
        const std::string_view part = text.substr(at, kHashStep);
        XXH3_64bits_update(state, part.data(), part.size());
        file.dropPages(at, part.size());
        control.check();
    }
    char digits[17];
    std::snprintf(digits, sizeof digits, "%016llx",
                  static_cast<unsigned long long>(XXH3_64bits_digest(state)));
    return digits;
}

/// Where a piece that begins at `begin` ends: after a blank line, else a line, else a word, else a
/// character.
std::uint64_t pieceEnd(std::string_view text, std::uint64_t begin, std::uint64_t size) {
    const std::uint64_t least = begin + size;
    if (least >= text.size())
        return text.size();
    const std::string_view reach = text.substr(0, least + kBlankLineReach * size);
    for (const std::string_view mark : {"\n\n", "\n", " "})
        if (const std::size_t found = reach.find(mark, least); found != std::string_view::npos)
            return found + mark.size();
    std::uint64_t end = least;
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80)
        ++end;
    return end;
}

std::string parsedLine(std::string_view line, const std::string& origin) {
    const nlohmann::json object = parseJson(line, origin);
    const auto text = object.is_object() ? object.find("text") : object.end();
    if (!object.is_object() || text == object.end() || !text->is_string())
        throwBadInput(origin, "has no string \"text\"");
    return text->get<std::string>();
}

}  // namespace

DocumentFile::DocumentFile(const std::filesystem::path& path, std::uint64_t pieceBytes,
                           RunControl& control)
    : m_path(path), m_file(MappedFile::open(path)) {
    std::string extension = path.extension().string();
    std::transform(extension.begin(), extension.end(), extension.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    m_lines = extension == ".jsonl" || extension == ".ndjson";
    if (m_lines)
        findLines(control);
    else
        cutText(pieceBytes, control);
    m_hash = hashOf(*m_file, control);
}

void DocumentFile::cutText(std::uint64_t pieceBytes, RunControl& control) {
    const std::string_view text = m_file->text();
    const std::uint64_t size =
        std::max(kLeastPieceBytes, std::min<std::uint64_t>(pieceBytes, text.size() / kLeastPieces));
    std::uint64_t dropped = 0;
    for (std::uint64_t at = 0; at < text.size();) {
        control.check();
        const std::uint64_t end = pieceEnd(text, at, size);
        const std::string_view piece = text.substr(at, end - at);
        if (piece.find('\0') != std::string_view::npos)
            throwBadInput(m_path.string(), "is not a text file (it holds zero bytes)");
        if (!isValidUtf8(piece)) {
            std::size_t bad = 0;
            for (Utf8Char c = decodeUtf8(piece, bad); c.valid; c = decodeUtf8(piece, bad))
                bad += c.length;
            throwBadInput(m_path.string(), "is not UTF-8 text (byte " + std::to_string(at + bad) +
                                               " begins no character)");
        }
        m_begins.push_back(at);
        at = end;
        if (at - dropped >= kHashStep) {
            m_file->dropPages(dropped, at - dropped);
            dropped = at;
        }
    }
    m_begins.push_back(text.size());
    if (isBlank(text))
        throwBadInput(m_path.string(), "holds no text");
}

void DocumentFile::findLines(RunControl& control) {
    const std::string_view text = m_file->text();
    std::uint64_t dropped = 0;
    std::size_t number = 0;
    for (std::size_t at = 0; at < text.size();) {
        control.check();
        ++number;
        const std::size_t end = std::min(text.find('\n', at), text.size() - 1) + 1;
        const std::string_view line = text.substr(at, end - at);
        if (!isBlank(line)) {
            const std::string origin = m_path.string() + " line " + std::to_string(number);
            if (!parsedLine(line, origin).empty())
                m_begins.push_back(at);
        }
        at = end;
        if (at - dropped >= kHashStep) {
            m_file->dropPages(dropped, at - dropped);
            dropped = at;
        }
    }
    if (m_begins.empty())
        throwBadInput(m_path.string(), "holds no text");
    m_begins.push_back(text.size());
}

std::uint64_t DocumentFile::bytes(std::int64_t document) const {
    const auto at = static_cast<std::size_t>(document);
    return m_begins[at + 1] - m_begins[at];
}

std::string DocumentFile::text(std::int64_t document) const {
    if (!m_file->intact())
        throwBadInput(m_path.string(), "the file changed on disk while it was in use");
    std::string_view part =
        m_file->text().substr(m_begins.at(static_cast<std::size_t>(document)), bytes(document));
    if (!m_lines)
        return std::string(part);
    // Blank and empty lines that follow belong to the line before them.
    part = part.substr(0, part.find('\n'));
    return parsedLine(part, m_path.string());
}

}  // namespace fettle
