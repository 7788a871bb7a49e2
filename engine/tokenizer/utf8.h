// UTF-8 by hand: decoding with replacement of broken sequences, and the two character classes that
// Hugging Face's tokenizers takes from Rust's standard library. Stateless.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace fettle {

/// One decoded character. A broken sequence has `valid` false and the length of its maximal subpart
/// (1 to 3 bytes).
struct Utf8Char {
    char32_t code = 0;
    std::size_t length = 1;
    bool valid = false;
};

/// `position` is below `text.size()`.
Utf8Char decodeUtf8(std::string_view text, std::size_t position);
void appendUtf8(std::string& out, char32_t code);
/// The code points of `text`, broken sequences as U+FFFD.
std::u32string codePoints(std::string_view text);

bool isValidUtf8(std::string_view text);
/// Each maximal subpart of a broken sequence becomes one U+FFFD, as Python and Rust do it.
std::string replaceInvalidUtf8(std::string_view text);

/// Unicode White_Space.
bool isUnicodeSpace(char32_t code);
/// Rust's \w: Alphabetic, Mark, Decimal_Number, Connector_Punctuation, Join_Control.
bool isWordCharacter(char32_t code);

/// Bytes of white space at the start and at the end of valid UTF-8.
std::size_t leadingSpaceBytes(std::string_view text);
std::size_t trailingSpaceBytes(std::string_view text);
/// Start of the last character of a text that is not empty.
std::size_t lastCharacterStart(std::string_view text);

}  // namespace fettle
