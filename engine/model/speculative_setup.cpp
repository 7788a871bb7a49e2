#include "engine/model/speculative_setup.h"

#include <charconv>

#include "engine/core/error.h"
#include "engine/io/strict_json.h"
#include "engine/model/draft_heads.h"

namespace fettle {

namespace {
constexpr int kMostDraftTokens = 16;
}  // namespace

bool SpeculativeSetup::hasModel() const {
    return !isLookup(draft) && draft.rfind("self:", 0) != 0;
}

bool isLookup(const std::string& word) {
    return word == "ngram" || word == "suffix";
}

std::optional<SpeculativeSetup> readSpeculativeSetup(const std::filesystem::path& folder) {
    const std::filesystem::path file = folder / kSpeculativeFile;
    std::error_code ignored;
    if (!std::filesystem::exists(file, ignored))
        return std::nullopt;
    const nlohmann::json json = readJsonObject(file);
    SpeculativeSetup setup;
    try {
        setup.draft = json.at("draft").get<std::string>();
        setup.draftTokens = json.value("draft_tokens", "auto");
        setup.tree = json.value("tree", "off");
        draftTree(setup.tree);
        setup.reencode = json.value("reencode", false);
        setup.draftScheme = json.value("draft_scheme", "");
        setup.lookup = json.value("lookup", "");
        setup.skippedLayers = json.value("skipped_layers", std::vector<int>{});
        fixedDraftTokens(setup.draftTokens);
    } catch (const nlohmann::json::exception& error) {
        throwBadInput(file.string(), std::string("is not a speculative setup: ") + error.what());
    } catch (const EngineError& error) {
        throwBadInput(file.string(), error.what());
    }
    if (setup.draft.empty())
        throwBadInput(file.string(), "\"draft\" is empty");
    if (!setup.lookup.empty() && (!isLookup(setup.lookup) || isLookup(setup.draft)))
        throwBadInput(file.string(), "\"lookup\" must be ngram or suffix, beside another draft");
    if (setup.hasModel()) {
        const std::filesystem::path relative(setup.draft);
        bool inside = relative.is_relative();
        for (const auto& part : relative)
            inside = inside && part != "..";
        if (!inside)
            throwBadInput(file.string(), "\"draft\" must name a folder inside the model's own");
        setup.draft = (folder / relative).string();
        readHeads(setup);
    }
    return setup;
}

void readHeads(SpeculativeSetup& setup) {
    if (!setup.hasModel() || setup.heads || !holdsDraftHeads(setup.draft))
        return;
    auto heads = std::make_shared<const DraftHeads>(readDraftHeads(setup.draft));
    const auto refuse = [&](const std::string& what) {
        throwBadInput(setup.draft, "holds " + heads->kind + " heads, and only a draft model " +
                                       what + ": name the folder alone");
    };
    if (!setup.draftScheme.empty())
        refuse("can be rounded to " + setup.draftScheme);
    if (setup.reencode)
        refuse("can meet the model as text");
    setup.heads = std::move(heads);
}

nlohmann::json toJson(const SpeculativeSetup& setup) {
    nlohmann::json json{{"target", "."},
                        {"draft", setup.hasModel() ? kDraftFolder : setup.draft},
                        {"draft_tokens", setup.draftTokens}};
    if (draftTree(setup.tree).kind != DraftTree::Kind::Chain)
        json["tree"] = setup.tree;
    if (setup.reencode)
        json["reencode"] = true;
    if (!setup.draftScheme.empty())
        json["draft_scheme"] = setup.draftScheme;
    if (!setup.lookup.empty())
        json["lookup"] = setup.lookup;
    if (!setup.skippedLayers.empty())
        json["skipped_layers"] = setup.skippedLayers;
    return json;
}

std::optional<int> fixedDraftTokens(const std::string& draftTokens) {
    if (draftTokens == "auto" || draftTokens.empty())
        return std::nullopt;
    int tokens = 0;
    const char* end = draftTokens.data() + draftTokens.size();
    const auto [stopped, failed] = std::from_chars(draftTokens.data(), end, tokens);
    if (failed != std::errc() || stopped != end || tokens < 1 || tokens > kMostDraftTokens)
        throw EngineError(ErrorKind::Usage, "draft_tokens must be \"auto\" or a number from 1 to " +
                                                std::to_string(kMostDraftTokens) + ", not \"" +
                                                draftTokens + "\"");
    return tokens;
}

DraftTree draftTree(const std::string& tree) {
    DraftTree shape;
    if (tree.empty() || tree == "off")
        return shape;
    if (tree == "auto") {
        shape.kind = DraftTree::Kind::Dynamic;
        return shape;
    }
    shape.kind = DraftTree::Kind::Fixed;
    int level = 1, nodes = 0;
    const char* at = tree.data();
    const char* const end = at + tree.size();
    while (true) {
        int width = 0;
        const auto [stopped, failed] = std::from_chars(at, end, width);
        const bool number = failed == std::errc() && width >= 1 && width <= kMostTreeNodes;
        level = number ? level * width : 0;
        nodes += level;
        if (!number || nodes > kMostTreeNodes || (stopped != end && *stopped != '-'))
            throw EngineError(ErrorKind::Usage,
                              "tree must be \"off\", \"auto\" or widths by depth such as \"3-2-1\" "
                              "of at most " +
                                  std::to_string(kMostTreeNodes) + " tokens in all, not \"" + tree +
                                  "\"");
        shape.widths.push_back(width);
        if (stopped == end)
            return shape;
        at = stopped + 1;
    }
}

}  // namespace fettle
