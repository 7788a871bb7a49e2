// The byte alphabet of GPT-2: every byte stands as one printable character, so that a byte-level
// vocabulary is text (openai/gpt-2 encoder.py, bytes_to_unicode). Stateless.
#pragma once

#include <array>
#include <string>
#include <string_view>

namespace fettle {

/// The character that stands for each byte.
const std::array<char32_t, 256>& byteAlphabet();
/// The text with each byte replaced by its character.
std::string toByteLevel(std::string_view bytes);
/// The bytes that `text` stands for; false, and `out` as it was, where a character is not of the
/// alphabet.
bool appendFromByteLevel(std::string_view text, std::string& out);

}  // namespace fettle
