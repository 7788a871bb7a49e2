// How a model is to be decoded speculatively: part of the model, kept beside its weights as
// speculative.json:
//
//   {"target": ".", "draft": "draft" | "ngram" | "suffix" | "self:N" | "self:SCHEME",
//    "draft_tokens": "auto" | number, "tree": "off" | "auto" | "3-2-1", "reencode": bool,
//    "draft_scheme": "int8", "lookup": "ngram" | "suffix", "skipped_layers": [..]}
//
// A draft model lies in the folder that "draft" names, relative to the file; with "reencode" it may
// have another tokenizer. Heads lie there too, see draft_heads.h.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace fettle {

struct DraftHeads;
struct Model;

struct SpeculativeSetup {
    std::string draft;  ///< as above, a draft model as the path to load it from
    std::string draftTokens = "auto";
    std::string tree = "off";
    /// A draft model speaks of other tokens: text is encoded anew between the two.
    bool reencode = false;
    /// The weights of a draft model are rounded to this scheme once they are loaded; empty: kept.
    std::string draftScheme;
    /// "ngram" or "suffix": asked before `draft`, which guesses where that finds nothing; empty:
    /// `draft` alone.
    std::string lookup;
    std::vector<int> skippedLayers;  ///< self:N: the layers that are left out

    /// Heads on the model's hidden states: read from the folder that `draft` names, or just made.
    std::shared_ptr<const DraftHeads> heads;
    /// The draft model, if it has been loaded; its weights as its files have them.
    std::shared_ptr<const Model> draftModel;

    /// Whether `draft` names a model rather than a way to do without one.
    bool hasModel() const;
};

/// Whether `word` names a way to look up what the text said before.
bool isLookup(const std::string& word);

constexpr const char* kSpeculativeFile = "speculative.json";
/// The folder of a draft model inside a model's folder.
constexpr const char* kDraftFolder = "draft";

/// Reads `folder`/speculative.json; nothing where it is absent. Throws EngineError(BadInput).
std::optional<SpeculativeSetup> readSpeculativeSetup(const std::filesystem::path& folder);
/// Reads the heads, if it is heads that `setup.draft` names. Throws EngineError(BadInput), also
/// where they are to be rounded or to meet the model as text, which only a draft model can.
void readHeads(SpeculativeSetup& setup);
/// What the file holds; a draft model is named as kDraftFolder.
nlohmann::json toJson(const SpeculativeSetup& setup);

/// Tokens to draft per round, 1 to 16; nothing for "auto". Throws EngineError(Usage) for other
/// text.
std::optional<int> fixedDraftTokens(const std::string& draftTokens);

/// How drafts branch.
struct DraftTree {
    enum class Kind { Chain, Fixed, Dynamic } kind = Kind::Chain;
    std::vector<int> widths;  ///< Fixed: continuations of each token, by depth
};
/// Drafted tokens that a tree may have: with the newest token of the text as many as every backend
/// multiplies with the numbers of a single one.
constexpr int kMostTreeNodes = 31;
/// "off" or empty: a chain; "auto": branches where they pay; "3-2-1": three guesses at the next
/// token, two after each of them, one after each of those. Throws EngineError(Usage).
DraftTree draftTree(const std::string& tree);

}  // namespace fettle
