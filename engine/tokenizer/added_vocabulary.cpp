#include "engine/tokenizer/added_vocabulary.h"

#include <algorithm>
#include <utility>

#include "engine/tokenizer/utf8.h"

namespace fettle {

void PrefixTrie::build(std::vector<std::pair<std::string, std::int32_t>> entries) {
    std::erase_if(entries, [](const auto& entry) { return entry.first.empty(); });
    if (entries.empty()) {
        return;
    }
    std::stable_sort(entries.begin(), entries.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    // Breadth first, so that the edges of a node lie together. A job is a node and the entries
    // below it.
    struct Job {
        std::size_t begin, end, depth;
        std::uint32_t node;
    };
    m_nodes.emplace_back();
    std::vector<Job> jobs{{0, entries.size(), 0, 0}};
    for (std::size_t next = 0; next < jobs.size(); ++next) {
        Job job = jobs[next];
        if (entries[job.begin].first.size() == job.depth) {
            m_nodes[job.node].value = entries[job.begin].second;
            while (job.begin < job.end && entries[job.begin].first.size() == job.depth) {
                ++job.begin;
            }
        }
        m_nodes[job.node].firstEdge = static_cast<std::uint32_t>(m_edges.size());
        while (job.begin < job.end) {
            const char byte = entries[job.begin].first[job.depth];
            std::size_t end = job.begin;
            while (end < job.end && entries[end].first[job.depth] == byte) {
                ++end;
            }
            const auto node = static_cast<std::uint32_t>(m_nodes.size());
            m_nodes.emplace_back();
            m_edges.push_back({static_cast<unsigned char>(byte), node});
            ++m_nodes[job.node].edges;
            jobs.push_back({job.begin, end, job.depth + 1, node});
            job.begin = end;
        }
    }
    for (std::uint32_t edge = 0; edge < m_nodes[0].edges; ++edge) {
        m_first[m_edges[edge].byte] = m_edges[edge].node;
    }
}

std::uint32_t PrefixTrie::child(std::uint32_t node, unsigned char byte) const {
    const Edge* first = m_edges.data() + m_nodes[node].firstEdge;
    const Edge* last = first + m_nodes[node].edges;
    const Edge* found =
        std::lower_bound(first, last, byte,
                         [](const Edge& edge, unsigned char wanted) { return edge.byte < wanted; });
    return found != last && found->byte == byte ? found->node : 0;
}

bool PrefixTrie::search(std::string_view text, std::size_t from, Hit& hit) const {
    for (std::size_t begin = from; begin < text.size(); ++begin) {
        std::uint32_t node = m_first[static_cast<unsigned char>(text[begin])];
        hit.value = -1;
        for (std::size_t at = begin + 1; node != 0; ++at) {
            if (m_nodes[node].value >= 0) {
                hit = {begin, at, m_nodes[node].value};
            }
            node = at < text.size() ? child(node, static_cast<unsigned char>(text[at])) : 0;
        }
        if (hit.value >= 0) {
            return true;
        }
    }
    return false;
}

void AddedVocabulary::build(std::vector<AddedToken> tokens,
                            const std::vector<std::string>& normalizedContents) {
    m_tokens = std::move(tokens);
    std::array<std::vector<std::pair<std::string, std::int32_t>>, 2> entries;
    for (std::size_t i = 0; i < m_tokens.size(); ++i) {
        const AddedToken& token = m_tokens[i];
        m_searched.push_back(token.normalized ? normalizedContents[i] : token.content);
        m_byId.emplace(token.id, i);
        m_byContent.emplace(token.content, i);
        entries[token.normalized ? 1 : 0].emplace_back(m_searched.back(),
                                                       static_cast<std::int32_t>(i));
    }
    m_tries[0].build(std::move(entries[0]));
    m_tries[1].build(std::move(entries[1]));
}

std::vector<AddedVocabulary::Part> AddedVocabulary::split(std::string_view text,
                                                          bool normalized) const {
    std::vector<Part> parts;
    std::size_t covered = 0;
    PrefixTrie::Hit hit;
    for (std::size_t from = 0; m_tries[normalized ? 1 : 0].search(text, from, hit);
         from = hit.end) {
        const AddedToken& token = m_tokens[static_cast<std::size_t>(hit.value)];
        std::size_t begin = hit.begin, end = hit.end;
        if (token.singleWord) {
            const bool wordBefore =
                begin > 0 &&
                isWordCharacter(decodeUtf8(text, lastCharacterStart(text.substr(0, begin))).code);
            if (wordBefore || (end < text.size() && isWordCharacter(decodeUtf8(text, end).code))) {
                continue;
            }
        }
        if (token.lstrip) {
            begin = std::max(begin - trailingSpaceBytes(text.substr(0, begin)), covered);
        }
        if (token.rstrip) {
            end += leadingSpaceBytes(text.substr(end));
        }
        if (covered < begin) {
            parts.push_back({covered, begin, -1});
        }
        parts.push_back({begin, end, token.id});
        covered = end;
    }
    if (covered < text.size()) {
        parts.push_back({covered, text.size(), -1});
    }
    return parts;
}

const AddedToken* AddedVocabulary::find(std::int32_t id) const {
    const auto found = m_byId.find(id);
    return found == m_byId.end() ? nullptr : &m_tokens[found->second];
}

const AddedToken* AddedVocabulary::find(std::string_view content) const {
    const auto found = m_byContent.find(content);
    return found == m_byContent.end() ? nullptr : &m_tokens[found->second];
}

std::string_view AddedVocabulary::decodedText(std::int32_t id) const {
    const auto found = m_byId.find(id);
    return found == m_byId.end() ? std::string_view() : m_searched[found->second];
}

bool AddedVocabulary::isSpecial(std::int32_t id) const {
    const AddedToken* token = find(id);
    return token != nullptr && token->special;
}

}  // namespace fettle
