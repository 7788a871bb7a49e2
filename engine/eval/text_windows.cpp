#include "engine/eval/text_windows.h"

#include <xxhash.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "engine/core/error.h"

namespace fettle {

std::string readText(const std::string& path) {
    std::error_code ignored;
    if (std::filesystem::is_directory(path, ignored))
        throwBadInput(path, "is a folder, a text file is needed");
    std::ifstream file(path, std::ios::binary);
    if (!file)
        throwBadInput(path, std::strerror(errno));
    std::ostringstream content;
    content << file.rdbuf();
    std::string text = std::move(content).str();
    if (text.empty())
        throwBadInput(path, "the file is empty");
    if (text.find('\0') != std::string::npos)
        throwBadInput(path, "is not a text file (it holds zero bytes)");
    return text;
}

std::string textHash(const std::string& text) {
    char digits[17];
    std::snprintf(digits, sizeof digits, "%016llx",
                  static_cast<unsigned long long>(XXH3_64bits(text.data(), text.size())));
    return digits;
}

std::vector<TextWindow> makeWindows(const Tokenizer& tokenizer, const std::string& text,
                                    const MeasureOptions& options) {
    if (options.context < 2)
        throw EngineError(ErrorKind::Usage, "the context must be at least 2 tokens");
    const std::size_t context = static_cast<std::size_t>(options.context);
    const bool llama = options.protocol == PerplexityProtocol::LlamaCpp;
    const bool bos = tokenizer.addsBos() && tokenizer.bos() >= 0;

    std::vector<std::int32_t> ids(llama && bos ? 1 : 0, tokenizer.bos());
    const std::vector<std::int32_t> encoded = tokenizer.encode(text, false);
    ids.insert(ids.end(), encoded.begin(), encoded.end());
    if (options.maxTokens > 0 && static_cast<std::int64_t>(ids.size()) > options.maxTokens)
        ids.resize(static_cast<std::size_t>(options.maxTokens));

    std::vector<TextWindow> windows;
    if (llama) {
        for (std::size_t at = 0; at + context <= ids.size(); at += context) {
            TextWindow window;
            window.ids.assign(ids.begin() + static_cast<std::ptrdiff_t>(at),
                              ids.begin() + static_cast<std::ptrdiff_t>(at + context));
            if (bos)
                window.ids[0] = tokenizer.bos();
            window.firstScored = options.context / 2 + 1;
            windows.push_back(std::move(window));
        }
        return windows;
    }
    const std::size_t step = bos ? context - 1 : context;
    for (std::size_t at = 0; at < ids.size(); at += step) {
        TextWindow window;
        window.ids.assign(bos ? 1 : 0, tokenizer.bos());
        const std::size_t end = std::min(ids.size(), at + step);
        window.ids.insert(window.ids.end(), ids.begin() + static_cast<std::ptrdiff_t>(at),
                          ids.begin() + static_cast<std::ptrdiff_t>(end));
        if (window.ids.size() >= 2)
            windows.push_back(std::move(window));
    }
    return windows;
}

}  // namespace fettle
