#include "engine/tokenizer/regex_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <array>
#include <cstdint>
#include <utility>

#include "engine/core/error.h"
#include "engine/tokenizer/regex_dialect.h"
#include "engine/tokenizer/utf8.h"

namespace fettle {

namespace {

constexpr std::size_t kLongestPattern = 1 << 16;   // bytes
constexpr std::uint32_t kMatchLimit = 10'000'000;  // steps of one search, about 0.1 s
constexpr std::uint32_t kHeapLimitKib = 64 * 1024;
constexpr std::size_t kJitStackBytes = 4 << 20;

template <auto Free>
struct Deleter {
    template <class T>
    void operator()(T* p) const {
        Free(p);
    }
};
using CodePtr = std::unique_ptr<pcre2_code, Deleter<pcre2_code_free>>;
using CompileContextPtr =
    std::unique_ptr<pcre2_compile_context, Deleter<pcre2_compile_context_free>>;
using MatchContextPtr = std::unique_ptr<pcre2_match_context, Deleter<pcre2_match_context_free>>;
using MatchDataPtr = std::unique_ptr<pcre2_match_data, Deleter<pcre2_match_data_free>>;
using JitStackPtr = std::unique_ptr<pcre2_jit_stack, Deleter<pcre2_jit_stack_free>>;

/// What one thread needs to match any pattern.
struct MatchScratch {
    JitStackPtr stack{pcre2_jit_stack_create(32 << 10, kJitStackBytes, nullptr)};
    MatchContextPtr context{pcre2_match_context_create(nullptr)};
    MatchDataPtr data{pcre2_match_data_create(1, nullptr)};

    MatchScratch() {
        pcre2_set_match_limit(context.get(), kMatchLimit);
        pcre2_set_heap_limit(context.get(), kHeapLimitKib);
        pcre2_jit_stack_assign(context.get(), nullptr, stack.get());
    }
};

MatchScratch& scratchOfThread() {
    thread_local MatchScratch scratch;
    return scratch;
}

std::string messageOf(int error) {
    std::array<PCRE2_UCHAR, 256> buffer{};
    pcre2_get_error_message(error, buffer.data(), buffer.size());
    return reinterpret_cast<const char*>(buffer.data());
}

}  // namespace

struct RegexPattern::Code {
    CodePtr compiled;
    bool jit = false;
};

RegexPattern::RegexPattern(std::string pattern, Syntax syntax, std::string origin)
    : m_pattern(std::move(pattern)), m_origin(std::move(origin)) {
    if (m_pattern.size() > kLongestPattern) {
        fail("is longer than " + std::to_string(kLongestPattern) + " bytes");
    }
    if (syntax == Syntax::Literal && !m_pattern.empty()) {
        return;
    }
    std::string translated;
    try {
        translated = onigurumaToPcre2(m_pattern);
    } catch (const RegexDialectError& error) {
        fail(std::string("is not supported: ") + error.what());
    }
    const CompileContextPtr context(pcre2_compile_context_create(nullptr));
    pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
    int error = 0;
    PCRE2_SIZE offset = 0;
    m_code = std::make_unique<Code>();
    m_code->compiled.reset(
        pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error,
                      &offset, context.get()));
    if (!m_code->compiled) {
        fail("does not compile: " + messageOf(error));
    }
    m_code->jit = pcre2_jit_compile(m_code->compiled.get(), PCRE2_JIT_COMPLETE) == 0;
}

RegexPattern::~RegexPattern() = default;

bool RegexPattern::search(std::string_view text, std::size_t from, Match& match) const {
    if (!m_code) {
        const std::size_t found = text.find(m_pattern, from);
        match = {found, found + m_pattern.size()};
        return found != std::string_view::npos;
    }
    MatchScratch& scratch = scratchOfThread();
    const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    int result = PCRE2_ERROR_JIT_STACKLIMIT;
    if (m_code->jit) {
        result = pcre2_jit_match(m_code->compiled.get(), subject, text.size(), from, 0,
                                 scratch.data.get(), scratch.context.get());
    }
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) {
        result = pcre2_match(m_code->compiled.get(), subject, text.size(), from,
                             PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, scratch.data.get(),
                             scratch.context.get());
    }
    if (result == PCRE2_ERROR_NOMATCH) {
        return false;
    }
    if (result < 0) {
        fail("cannot be matched on this text: " + messageOf(result));
    }
    const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(scratch.data.get());
    match = {bounds[0], bounds[1]};
    if (match.begin > match.end || match.begin < from) {
        fail("matches backwards");  // \K in a lookaround
    }
    return true;
}

std::size_t RegexPattern::characterLength(std::string_view text, std::size_t position) {
    return decodeUtf8(text, position).length;
}

void RegexPattern::fail(const std::string& cause) const {
    const std::string shown =
        m_pattern.size() <= 200 ? m_pattern : replaceInvalidUtf8(m_pattern.substr(0, 200)) + "...";
    throwBadInput(m_origin, "the regular expression '" + shown + "' " + cause);
}

}  // namespace fettle
