#include "engine/tokenizer/byte_level.h"

#include <cstdint>

#include "engine/tokenizer/utf8.h"

namespace fettle {

namespace {

/// Characters of the alphabet lie below 0x100 + 68.
constexpr std::size_t kAlphabetEnd = 0x144;

bool standsForItself(int byte) {
    return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

std::array<char32_t, 256> makeAlphabet() {
    std::array<char32_t, 256> alphabet{};
    char32_t next = 256;
    for (int byte = 0; byte < 256; ++byte) {
        alphabet[static_cast<std::size_t>(byte)] =
            standsForItself(byte) ? static_cast<char32_t>(byte) : next++;
    }
    return alphabet;
}

std::array<std::int16_t, kAlphabetEnd> makeInverse() {
    std::array<std::int16_t, kAlphabetEnd> inverse{};
    inverse.fill(-1);
    for (std::size_t byte = 0; byte < 256; ++byte) {
        inverse[byteAlphabet()[byte]] = static_cast<std::int16_t>(byte);
    }
    return inverse;
}

}  // namespace

const std::array<char32_t, 256>& byteAlphabet() {
    static const std::array<char32_t, 256> alphabet = makeAlphabet();
    return alphabet;
}

std::string toByteLevel(std::string_view bytes) {
    const auto& alphabet = byteAlphabet();
    std::string out;
    out.reserve(bytes.size() * 2);
    for (const char byte : bytes) {
        appendUtf8(out, alphabet[static_cast<unsigned char>(byte)]);
    }
    return out;
}

bool appendFromByteLevel(std::string_view text, std::string& out) {
    static const std::array<std::int16_t, kAlphabetEnd> inverse = makeInverse();
    const std::size_t before = out.size();
    for (std::size_t i = 0; i < text.size();) {
        const Utf8Char c = decodeUtf8(text, i);
        if (c.code >= kAlphabetEnd || inverse[c.code] < 0) {
            out.resize(before);
            return false;
        }
        out.push_back(static_cast<char>(inverse[c.code]));
        i += c.length;
    }
    return true;
}

}  // namespace fettle
