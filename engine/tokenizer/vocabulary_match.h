// Whether two models speak of the same tokens: a draft and its target, a student and its teacher, a
// model and the baseline it is compared with must. Stateless.
#pragma once

#include <string>

#include "engine/tokenizer/tokenizer.h"

namespace fettle {

struct VocabularyMatch {
    bool same = false;  ///< every id means the same token in both
    std::string
        difference;  ///< in words, empty if there is none; "first" and "second" name the two
};

/// Compares sizes, token texts and special tokens. A longer table is no difference where it only
/// adds placeholders (unused tokens) that fill up the embedding. Which tokens are put around a text
/// does not count: both models are given the same ids.
VocabularyMatch matchVocabularies(const Tokenizer& first, const Tokenizer& second);

}  // namespace fettle
