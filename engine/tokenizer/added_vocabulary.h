// Tokens that are looked for in the text itself, before words are made of it: special tokens and
// those the user added. Matching is leftmost-longest, as in Hugging Face's tokenizers. Immutable
// after `build`; may be shared.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace fettle {

struct AddedToken {
    std::int32_t id = -1;
    std::string content;
    bool special = false;                 ///< left out of decoded text
    bool singleWord = false;              ///< not inside a word
    bool lstrip = false, rstrip = false;  ///< takes the white space on that side with it
    bool normalized = false;  ///< looked for in normalized text, in its own normalized form
};

/// Byte strings, the longest of which is found at a position.
class PrefixTrie {
public:
    /// Of equal strings the first counts; empty ones are left out.
    void build(std::vector<std::pair<std::string, std::int32_t>> entries);
    struct Hit {
        std::size_t begin = 0, end = 0;
        std::int32_t value = -1;
    };
    /// The leftmost match that begins at or after `from`, the longest of those.
    bool search(std::string_view text, std::size_t from, Hit& hit) const;
    bool empty() const { return m_nodes.empty(); }

private:
    struct Node {
        std::uint32_t firstEdge = 0, edges = 0;
        std::int32_t value = -1;
    };
    struct Edge {
        unsigned char byte = 0;
        std::uint32_t node = 0;
    };
    std::uint32_t child(std::uint32_t node, unsigned char byte) const;

    std::vector<Node> m_nodes;
    std::vector<Edge> m_edges;
    std::array<std::uint32_t, 256> m_first{};  // children of the root; 0 = none
};

class AddedVocabulary {
public:
    /// A part of a text: a token, or (id -1) text that lies between tokens.
    struct Part {
        std::size_t begin = 0, end = 0;
        std::int32_t id = -1;
    };

    /// `normalizedContents`: for each token the text that its `normalized` form is looked for as.
    void build(std::vector<AddedToken> tokens, const std::vector<std::string>& normalizedContents);

    /// Covers `text` in order. `normalized` chooses which tokens are looked for.
    std::vector<Part> split(std::string_view text, bool normalized) const;
    bool looksFor(bool normalized) const { return !m_tries[normalized ? 1 : 0].empty(); }

    const AddedToken* find(std::int32_t id) const;
    const AddedToken* find(std::string_view content) const;
    /// What decoding starts from: the form that is looked for.
    std::string_view decodedText(std::int32_t id) const;
    bool isSpecial(std::int32_t id) const;
    const std::vector<AddedToken>& tokens() const { return m_tokens; }

private:
    std::vector<AddedToken> m_tokens;
    std::vector<std::string> m_searched;  // by index, like m_tokens
    std::unordered_map<std::int32_t, std::size_t> m_byId;
    std::unordered_map<std::string_view, std::size_t> m_byContent;
    std::array<PrefixTrie, 2> m_tries;
};

}  // namespace fettle
