#include "app/core/markup.h"

#include <nlohmann/json.hpp>

namespace fettle::app {

std::string markupText(const std::string& text) {
    // The JSON library replaces what is not UTF-8.
    using nlohmann::json;
    const std::string clean = json(text).dump(-1, ' ', false, json::error_handler_t::replace);
    const std::string utf8 = json::parse(clean).get<std::string>();
    std::string escaped;
    escaped.reserve(utf8.size());
    for (const char c : utf8) {
        switch (c) {
            case '&':
                escaped += "&amp;";
                break;
            case '<':
                escaped += "&lt;";
                break;
            case '>':
                escaped += "&gt;";
                break;
            case '"':
                escaped += "&quot;";
                break;
            case '\'':
                escaped += "&#39;";
                break;
            default:
                // Control characters have no place in HTML and XML; tab and line feed do.
                if (static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t')
                    escaped += c;
        }
    }
    return escaped;
}

}  // namespace fettle::app
