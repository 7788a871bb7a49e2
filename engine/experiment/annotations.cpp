#include "engine/experiment/annotations.h"

#include <algorithm>

namespace fettle {
namespace {

bool separates(char c) {
    return static_cast<unsigned char>(c) <= ' ' || c == ',' || c == 0x7f;
}

bool startsCharacter(char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
}

}  // namespace

bool Annotations::hasTag(const std::string& tag) const {
    return std::find(tags.begin(), tags.end(), tag) != tags.end();
}

std::string normalTag(const std::string& text) {
    std::string tag;
    std::size_t characters = 0;
    bool gap = false;
    for (const char c : text) {
        if (separates(c)) {
            gap = !tag.empty();
            continue;
        }
        if (startsCharacter(c)) {
            const std::size_t more = gap ? 2 : 1;
            if (characters + more > kMaxTagCharacters)
                break;
            characters += more;
            if (gap)
                tag += ' ';
            gap = false;
        }
        tag += c;
    }
    return tag;
}

}  // namespace fettle
