// Unicode normalization forms of valid UTF-8. Linear in the text but for runs of combining marks (n
// log n).
#pragma once

#include <string>

namespace fettle {

enum class NormalizationForm { Nfc, Nfd, Nfkc, Nfkd };

void normalizeUnicode(std::string& text, NormalizationForm form);

}  // namespace fettle
