#include "engine/io/strict_json.h"

#include <unordered_set>
#include <vector>

#include "engine/core/error.h"
#include "engine/io/mapped_file.h"

namespace fettle {
namespace {

constexpr std::size_t kMaxFile = std::size_t{64} << 20;

std::string shortReason(const std::string& what) {
    // "[json.exception.parse_error.101] parse error at line 1, column 5: ..." without the tag and
    // the echoed token, which may be as long as the file.
    const auto close = what.find("] ");
    std::string reason = close == std::string::npos ? what : what.substr(close + 2);
    const auto token = reason.find("; last read");
    if (token != std::string::npos)
        reason.resize(token);
    return reason.substr(0, 160);
}

}  // namespace

nlohmann::json parseJson(std::string_view text, const std::string& origin, int maxDepth) {
    std::vector<std::unordered_set<std::string>> keys;
    const auto check = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& value) {
        using Event = nlohmann::json::parse_event_t;
        if ((event == Event::object_start || event == Event::array_start) && depth >= maxDepth)
            throwBadInput(origin,
                          "JSON is nested deeper than " + std::to_string(maxDepth) + " levels");
        if (event == Event::object_start) {
            keys.emplace_back();
        } else if (event == Event::object_end) {
            keys.pop_back();
        } else if (event == Event::key) {
            const auto& key = value.get_ref<const std::string&>();
            if (key.find('\0') != std::string::npos)
                throwBadInput(origin, "JSON key " + inQuotes(key) + " holds a NUL character");
            if (!keys.back().insert(key).second)
                throwBadInput(origin, "JSON key " + inQuotes(key) +
                                          " stands twice in one object (duplicate)");
        }
        return true;
    };
    try {
        return nlohmann::json::parse(text.begin(), text.end(), check);
    } catch (const nlohmann::json::exception& error) {
        throwBadInput(origin, "not valid JSON: " + shortReason(error.what()));
    }
}

nlohmann::json readJsonObject(const std::filesystem::path& path) {
    const auto file = MappedFile::open(path);
    if (file->size() > kMaxFile)
        throwBadInput(path.string(), "is too large for a JSON description (" +
                                         std::to_string(file->size()) + " bytes)");
    nlohmann::json json = parseJson(file->text(), path.string());
    if (!json.is_object())
        throwBadInput(path.string(), "is not a JSON object");
    return json;
}

std::string inQuotes(std::string_view text) {
    std::string out = "\"";
    for (const char c : text.substr(0, 80))
        out += static_cast<unsigned char>(c) >= 32 && static_cast<unsigned char>(c) < 127 ? c : '?';
    return out + (text.size() > 80 ? "...\"" : "\"");
}

bool isPlainText(std::string_view text) {
    for (std::size_t i = 0; i < text.size();) {
        const auto lead = static_cast<unsigned char>(text[i]);
        const int more = lead < 0x80                   ? 0
                         : lead >= 0xF0 && lead < 0xF5 ? 3
                         : lead >= 0xE0 && lead < 0xF0 ? 2
                         : lead >= 0xC2 && lead < 0xE0 ? 1
                                                       : -1;
        if (more < 0 || lead < 32 || lead == 127 ||
            i + static_cast<std::size_t>(more) >= text.size())
            return false;
        unsigned code = more == 0 ? lead : lead & (0x3Fu >> more);
        for (int k = 1; k <= more; ++k) {
            const auto next = static_cast<unsigned char>(text[i + static_cast<std::size_t>(k)]);
            if ((next & 0xC0) != 0x80)
                return false;
            code = code << 6 | (next & 0x3Fu);
        }
        // Overlong forms, surrogates and what lies past the last plane.
        if ((more == 2 && code < 0x800) || (more == 3 && code < 0x10000) ||
            (code >= 0xD800 && code < 0xE000) || code > 0x10FFFF)
            return false;
        i += static_cast<std::size_t>(more) + 1;
    }
    return true;
}

}  // namespace fettle
