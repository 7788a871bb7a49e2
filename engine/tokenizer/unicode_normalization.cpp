#include "engine/tokenizer/unicode_normalization.h"

#include <utf8proc.h>
#include <algorithm>
#include <cstddef>
#include <vector>

#include "engine/tokenizer/utf8.h"

namespace fettle {

namespace {

/// Below this no code point changes under the form, alone or with neighbours that are below it too.
char32_t firstThatMayChange(NormalizationForm form) {
    return form == NormalizationForm::Nfc ? 0x300 : form == NormalizationForm::Nfd ? 0xC0 : 0xA0;
}

bool mayChange(const std::string& text, char32_t first) {
    for (std::size_t i = 0; i < text.size();) {
        if (static_cast<unsigned char>(text[i]) < 0x80) {
            ++i;
            continue;
        }
        const Utf8Char c = decodeUtf8(text, i);
        if (c.code >= first) {
            return true;
        }
        i += c.length;
    }
    return false;
}

int combiningClass(utf8proc_int32_t code) {
    return utf8proc_get_property(code)->combining_class;
}

/// Canonical order of each run of combining marks. utf8proc's own ordering is quadratic in the
/// length of a run.
void orderMarks(std::vector<utf8proc_int32_t>& codes) {
    for (std::size_t i = 0; i < codes.size(); ++i) {
        std::size_t end = i;
        while (end < codes.size() && combiningClass(codes[end]) != 0) {
            ++end;
        }
        if (end > i + 1) {
            std::stable_sort(codes.begin() + static_cast<std::ptrdiff_t>(i),
                             codes.begin() + static_cast<std::ptrdiff_t>(end),
                             [](auto a, auto b) { return combiningClass(a) < combiningClass(b); });
        }
        i = std::max(i, end);
    }
}

}  // namespace

void normalizeUnicode(std::string& text, NormalizationForm form) {
    if (!mayChange(text, firstThatMayChange(form))) {
        return;
    }
    const bool compose = form == NormalizationForm::Nfc || form == NormalizationForm::Nfkc;
    const bool compatible = form == NormalizationForm::Nfkc || form == NormalizationForm::Nfkd;
    const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE |
                                                        (compatible ? UTF8PROC_COMPAT : 0));
    std::vector<utf8proc_int32_t> codes;
    codes.reserve(text.size());
    for (std::size_t i = 0; i < text.size();) {
        const Utf8Char c = decodeUtf8(text, i);
        i += c.length;
        utf8proc_int32_t parts[32];  // the longest decomposition has 18
        int boundary = 0;
        const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c.code), parts, 32,
                                                   options, &boundary);
        if (count < 0 || count > 32) {
            codes.push_back(static_cast<utf8proc_int32_t>(c.code));
        } else {
            codes.insert(codes.end(), parts, parts + count);
        }
    }
    orderMarks(codes);
    if (compose) {
        const auto composed = utf8proc_normalize_utf32(
            codes.data(), static_cast<utf8proc_ssize_t>(codes.size()),
            static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
        codes.resize(static_cast<std::size_t>(std::max<utf8proc_ssize_t>(composed, 0)));
    }
    text.clear();
    for (const utf8proc_int32_t code : codes) {
        appendUtf8(text, static_cast<char32_t>(code));
    }
}

}  // namespace fettle
