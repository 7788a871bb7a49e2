#include "engine/tokenizer/utf8.h"

#include <utf8proc.h>
#include <cstdint>
#include <cstring>

namespace fettle {

namespace {

bool isContinuation(unsigned char byte) {
    return (byte & 0xC0u) == 0x80u;
}

/// The allowed range of a sequence's second byte (Unicode Standard, table 3-7): no overlong forms,
/// no surrogates.
bool isSecondByte(unsigned char lead, unsigned char byte) {
    switch (lead) {
        case 0xE0:
            return byte >= 0xA0 && byte <= 0xBF;
        case 0xED:
            return byte >= 0x80 && byte <= 0x9F;
        case 0xF0:
            return byte >= 0x90 && byte <= 0xBF;
        case 0xF4:
            return byte >= 0x80 && byte <= 0x8F;
        default:
            return isContinuation(byte);
    }
}

/// Length of the run of ASCII bytes from `position`, eight bytes at a time.
std::size_t asciiEnd(std::string_view text, std::size_t position) {
    constexpr std::uint64_t kHighBits = 0x8080808080808080ull;
    while (position + 8 <= text.size()) {
        std::uint64_t word = 0;
        std::memcpy(&word, text.data() + position, 8);
        if ((word & kHighBits) != 0) {
            break;
        }
        position += 8;
    }
    while (position < text.size() && static_cast<unsigned char>(text[position]) < 0x80) {
        ++position;
    }
    return position;
}

}  // namespace

Utf8Char decodeUtf8(std::string_view text, std::size_t position) {
    const auto byteAt = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char lead = byteAt(position);
    if (lead < 0x80) {
        return {lead, 1, true};
    }
    if (lead < 0xC2 || lead > 0xF4) {
        return {0xFFFD, 1, false};
    }
    const std::size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    char32_t code = lead & (0x7Fu >> length);
    for (std::size_t i = 1; i < length; ++i) {
        if (position + i >= text.size()) {
            return {0xFFFD, i, false};
        }
        const unsigned char byte = byteAt(position + i);
        if (i == 1 ? !isSecondByte(lead, byte) : !isContinuation(byte)) {
            return {0xFFFD, i, false};
        }
        code = (code << 6) | (byte & 0x3Fu);
    }
    return {code, length, true};
}

void appendUtf8(std::string& out, char32_t code) {
    const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(byte)); };
    if (code < 0x80) {
        put(code);
    } else if (code < 0x800) {
        put(0xC0 | (code >> 6));
        put(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        put(0xE0 | (code >> 12));
        put(0x80 | ((code >> 6) & 0x3F));
        put(0x80 | (code & 0x3F));
    } else {
        put(0xF0 | (code >> 18));
        put(0x80 | ((code >> 12) & 0x3F));
        put(0x80 | ((code >> 6) & 0x3F));
        put(0x80 | (code & 0x3F));
    }
}

std::u32string codePoints(std::string_view text) {
    std::u32string codes;
    codes.reserve(text.size());
    for (std::size_t i = 0; i < text.size();) {
        const Utf8Char c = decodeUtf8(text, i);
        codes.push_back(c.code);
        i += c.length;
    }
    return codes;
}

bool isValidUtf8(std::string_view text) {
    std::size_t position = 0;
    while ((position = asciiEnd(text, position)) < text.size()) {
        const Utf8Char c = decodeUtf8(text, position);
        if (!c.valid) {
            return false;
        }
        position += c.length;
    }
    return true;
}

std::string replaceInvalidUtf8(std::string_view text) {
    std::string out;
    out.reserve(text.size() + 16);
    for (std::size_t i = 0; i < text.size();) {
        const Utf8Char c = decodeUtf8(text, i);
        if (c.valid) {
            out.append(text.substr(i, c.length));
        } else {
            appendUtf8(out, 0xFFFD);
        }
        i += c.length;
    }
    return out;
}

bool isUnicodeSpace(char32_t code) {
    return (code >= 0x09 && code <= 0x0D) || code == 0x20 || code == 0x85 || code == 0xA0 ||
           code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 ||
           code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

bool isWordCharacter(char32_t code) {
    switch (utf8proc_category(static_cast<utf8proc_int32_t>(code))) {
        case UTF8PROC_CATEGORY_LU:
        case UTF8PROC_CATEGORY_LL:
        case UTF8PROC_CATEGORY_LT:
        case UTF8PROC_CATEGORY_LM:
        case UTF8PROC_CATEGORY_LO:
        case UTF8PROC_CATEGORY_MN:
        case UTF8PROC_CATEGORY_MC:
        case UTF8PROC_CATEGORY_ME:
        case UTF8PROC_CATEGORY_ND:
        case UTF8PROC_CATEGORY_NL:
        case UTF8PROC_CATEGORY_PC:
            return true;
        default:
            break;
    }
    // Join_Control, and the symbols that are Alphabetic: circled and squared Latin letters.
    return code == 0x200C || code == 0x200D || (code >= 0x24B6 && code <= 0x24E9) ||
           (code >= 0x1F130 && code <= 0x1F149) || (code >= 0x1F150 && code <= 0x1F169) ||
           (code >= 0x1F170 && code <= 0x1F189);
}

std::size_t leadingSpaceBytes(std::string_view text) {
    std::size_t position = 0;
    while (position < text.size()) {
        const Utf8Char c = decodeUtf8(text, position);
        if (!isUnicodeSpace(c.code)) {
            break;
        }
        position += c.length;
    }
    return position;
}

std::size_t trailingSpaceBytes(std::string_view text) {
    std::size_t end = text.size();
    while (end > 0) {
        const std::size_t start = lastCharacterStart(text.substr(0, end));
        if (!isUnicodeSpace(decodeUtf8(text, start).code)) {
            break;
        }
        end = start;
    }
    return text.size() - end;
}

std::size_t lastCharacterStart(std::string_view text) {
    std::size_t start = text.size() - 1;
    while (start > 0 && isContinuation(static_cast<unsigned char>(text[start]))) {
        --start;
    }
    return start;
}

}  // namespace fettle
