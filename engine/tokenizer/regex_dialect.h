// Rewrites a regular expression of Oniguruma (Ruby syntax, as Hugging Face's tokenizers compiles
// it) for PCRE2. The two agree on most of the syntax; classes, some quantifiers and options mean
// different things.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace fettle {

/// What in the expression has no equivalent.
class RegexDialectError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// The result is to be compiled with PCRE2_UTF, PCRE2_UCP and PCRE2_MULTILINE. Throws
/// RegexDialectError.
std::string onigurumaToPcre2(std::string_view pattern);

}  // namespace fettle
