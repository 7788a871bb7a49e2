// How a model is to be decoded speculatively: part of the model, kept beside its weights as
// speculative.json:
//
//   {"target": ".", "draft": "draft" | "ngram" | "suffix" | "self:N" | "self:SCHEME",
//    "draft_tokens": "auto" | number, "skipped_layers": [..]}
//
// A draft model lies in the folder that "draft" names, relative to the file.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace fettle {

struct SpeculativeSetup {
    std::string draft;  ///< as above, a draft model as the path to load it from
    std::string draftTokens = "auto";
    std::vector<int> skippedLayers;  ///< self:N: the layers that are left out

    /// Whether `draft` names a model rather than a way to do without one.
    bool hasModel() const;
};

constexpr const char* kSpeculativeFile = "speculative.json";
/// The folder of a draft model inside a model's folder.
constexpr const char* kDraftFolder = "draft";

/// Reads `folder`/speculative.json; nothing where it is absent. Throws EngineError(BadInput).
std::optional<SpeculativeSetup> readSpeculativeSetup(const std::filesystem::path& folder);
/// What the file holds; a draft model is named as kDraftFolder.
nlohmann::json toJson(const SpeculativeSetup& setup);

/// Tokens to draft per round, 1 to 16; nothing for "auto". Throws EngineError(Usage) for other
/// text.
std::optional<int> fixedDraftTokens(const std::string& draftTokens);

}  // namespace fettle
