// loadModel: decides what a path is, reads the description, and fills the canonical weights by the
// family's table.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <optional>
#include <set>
#include <system_error>

#include "engine/core/error.h"
#include "engine/io/compressed_tensors.h"
#include "engine/io/gguf_reader.h"
#include "engine/io/low_rank_adapter.h"
#include "engine/io/safetensors_reader.h"
#include "engine/io/strict_json.h"
#include "engine/model/architectures/architecture.h"
#include "engine/model/architectures/gguf_config.h"
#include "engine/model/model.h"
#include "engine/model/weight_reader.h"

namespace fettle {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kControlToken = 3;  // GGUF's token type

bool isThere(const fs::path& path) {
    std::error_code ignored;
    return fs::exists(path, ignored);
}

/// There, or a link that leads nowhere: opening it says why.
bool isNamed(const fs::path& path) {
    std::error_code ignored;
    return fs::exists(fs::symlink_status(path, ignored));
}

bool isPickle(const fs::path& path) {
    static const std::array<std::string, 6> kExtensions = {".bin",  ".pt",  ".pth",
                                                           ".ckpt", ".pkl", ".pickle"};
    return std::find(kExtensions.begin(), kExtensions.end(), path.extension().string()) !=
           kExtensions.end();
}

[[noreturn]] void refusePickle(const fs::path& path) {
    throwBadInput(
        path.string(),
        "is a pickle file, which can run code when it is opened; convert it to safetensors first");
}

[[noreturn]] void refuseOnnx(const fs::path& path) {
    throwBadInput(path.string(),
                  "ONNX models are not supported; use the safetensors or GGUF files of the model");
}

std::vector<fs::path> filesOf(const fs::path& folder) {
    std::vector<fs::path> files;
    std::error_code error;
    for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
        files.push_back(it->path());
    if (error)
        throwBadInput(folder.string(), "cannot be listed: " + error.message());
    std::sort(files.begin(), files.end());
    return files;
}

/// Why a folder is no model, said by what lies in it instead.
[[noreturn]] void refuseFolder(const fs::path& folder, const std::string& missing) {
    for (const fs::path& file : filesOf(folder)) {
        if (isPickle(file))
            refusePickle(file);
        if (file.extension() == ".onnx")
            refuseOnnx(file);
    }
    throwBadInput(folder.string(), "has no " + missing + ": it is not a Hugging Face model folder");
}

/// Names of a Hugging Face file that may stand for a name of the table, most likely first.
class NameResolver {
public:
    NameResolver(const Architecture& architecture, const StoredTensors& tensors)
        : m_architecture(architecture), m_tensors(tensors) {}

    /// `name` as this file spells it; `name` itself where the file has none of the spellings.
    std::string resolve(const std::string& name) const {
        if (m_tensors.count(name))
            return name;
        for (const std::string& prefix : m_architecture.prefixes) {
            const std::string shorter =
                name.starts_with(prefix) ? name.substr(prefix.size()) : name;
            const std::string inner = name.starts_with("model.") ? name.substr(6) : name;
            for (const std::string& candidate : {prefix + name, shorter, prefix + inner})
                if (m_tensors.count(candidate))
                    return candidate;
        }
        return name;
    }

    /// The module's name as the file spells it, judged by `suffix`es of which one must be there.
    std::string resolveModule(const std::string& module) const {
        for (const char* suffix : {".weight", ".weight_packed"}) {
            const std::string found = resolve(module + suffix);
            if (m_tensors.count(found))
                return found.substr(0, found.size() - std::string(suffix).size());
        }
        return module;
    }

private:
    const Architecture& m_architecture;
    const StoredTensors& m_tensors;
};

TensorReport reportOf(const std::string& name, const StoredTensor& stored) {
    TensorReport report;
    report.name = name;
    report.dtype = stored.type;
    report.shape = stored.tensor.shape();
    report.bytes = stored.tensor.bytes();
    const std::int64_t count = stored.tensor.elements();
    report.bitsPerWeight =
        count > 0 ? 8.0 * static_cast<double>(report.bytes) / static_cast<double>(count) : 0;
    return report;
}

TensorReport reportOf(const std::string& name, const QuantizedTensor& quantized) {
    const Weight weight(quantized);
    return {name, weight.typeName(), weight.shape(), weight.bytes(), weight.bitsPerWeight()};
}

/// Fills a Model from a Hugging Face folder.
class FolderLoader {
public:
    FolderLoader(const fs::path& folder, RunControl* control)
        : m_folder(folder), m_control(control) {}

    Model load() {
        const fs::path configPath = m_folder / "config.json";
        if (!isNamed(m_folder / "model.safetensors") &&
            !isNamed(m_folder / "model.safetensors.index.json"))
            refuseFolder(m_folder, "model.safetensors");
        const json config = readJsonObject(configPath);
        m_model.config = modelConfigFromHuggingFace(config, configPath.string());
        m_scheme = CompressedTensorsConfig::fromConfig(m_model.config.source, configPath.string());
        m_checkpoint = readCheckpoint(m_folder);
        m_model.name = m_folder.filename().string();
        m_model.path = m_folder.string();
        m_model.format = "safetensors";
        m_model.files = m_checkpoint.files;
        for (const auto& file : m_model.files)
            m_model.fileBytes += file->size();
        if (m_scheme)
            m_model.warnings = m_scheme->warnings();
        readWeights();
        readAdapter();
        reportTensors();
        collectSideFiles();
        m_model.tokenizer = Tokenizer::fromFolder(m_folder);
        m_model.speculative = readSpeculativeSetup(m_folder);
        return std::move(m_model);
    }

private:
    void readWeights() {
        const Architecture& architecture = *findArchitecture(m_model.config.architecture);
        const NameResolver resolver(architecture, m_checkpoint.tensors);
        for (const TensorPlace& place : tensorPlaces(m_model.config)) {
            if (m_control)
                m_control->check();
            readWeight(place, resolver);
        }
    }

    void readWeight(const TensorPlace& place, const NameResolver& resolver) {
        const std::string name = resolver.resolve(place.huggingFace);
        if (place.is(kTiedHead) && m_model.config.tiedEmbeddings) {
            m_used.insert(name);
            return;
        }
        if (place.is(kLinear) && m_scheme && readQuantized(place, resolver))
            return;
        const auto found = m_checkpoint.tensors.find(name);
        if (found == m_checkpoint.tensors.end()) {
            if (place.is(kOptional))
                return;
            throwBadInput(m_folder.string(), "missing tensor " + inQuotes(place.huggingFace));
        }
        m_model.weights.emplace(
            place.canonical,
            readPlainWeight(place, m_model.config, found->second, name, {true, false}));
        m_model.fileNames.emplace(place.canonical, name);
        m_used.insert(name);
    }

    void readAdapter() {
        json& source = m_model.config.source;
        const auto named = source.find(kAdapterKey);
        if (named == source.end())
            return;
        if (*named != kAdapterFolder)
            throwBadInput(
                (m_folder / "config.json").string(),
                std::string(kAdapterKey) + " names another folder than " + kAdapterFolder);
        source.erase(named);
        readLowRankAdapter(m_folder / kAdapterFolder, m_model);
    }

    bool readQuantized(const TensorPlace& place, const NameResolver& resolver) {
        const std::string suffix = ".weight";
        const std::string module = resolver.resolveModule(
            place.huggingFace.substr(0, place.huggingFace.size() - suffix.size()));
        const auto scheme = m_scheme->schemeOf(module);
        if (!scheme)
            return false;
        const FusedRows rows = fusedRows(place, m_model.config);
        const QuantizedTensor whole = readCompressedWeight(
            m_checkpoint.tensors, module, *scheme, rows.total, place.cols, m_folder.string());
        const bool part = rows.total != place.rows;
        m_model.weights.emplace(place.canonical,
                                Weight(part ? sliceRows(whole, rows.first, place.rows) : whole));
        m_model.fileNames.emplace(place.canonical, module + suffix);
        if (m_used.insert(module + suffix).second)
            m_model.fileTensors.push_back(reportOf(module + suffix, whole));
        for (const char* other :
             {".weight_packed", ".weight_scale", ".weight_shape", ".weight_zero_point",
              ".weight_g_idx", ".weight_global_scale", ".input_global_scale"})
            m_quantizedParts.insert(module + other);
        return true;
    }

    void reportTensors() {
        std::set<std::string> reported;
        for (const TensorReport& report : m_model.fileTensors)
            reported.insert(report.name);
        std::string unused;
        std::size_t count = 0;
        for (const auto& [name, stored] : m_checkpoint.tensors) {
            if (m_quantizedParts.count(name) || reported.count(name))
                continue;
            m_model.fileTensors.push_back(reportOf(name, stored));
            // Buffers that older versions of transformers wrote along.
            const bool buffer = name.ends_with(".attn.bias") ||
                                name.ends_with(".attn.masked_bias") ||
                                name.ends_with("rotary_emb.inv_freq");
            if (m_used.count(name) || buffer)
                continue;
            if (count++ == 0)
                unused = name;
        }
        std::sort(m_model.fileTensors.begin(), m_model.fileTensors.end(),
                  [](const TensorReport& a, const TensorReport& b) { return a.name < b.name; });
        if (count > 0)
            m_model.warnings.push_back(std::to_string(count) +
                                       " tensors of the file are not used, the first is " +
                                       inQuotes(unused));
    }

    void collectSideFiles() {
        for (const char* name :
             {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
              "added_tokens.json", "generation_config.json", "chat_template.jinja",
              "chat_template.json", "tokenizer.model", "vocab.json", "merges.txt"})
            if (isThere(m_folder / name))
                m_model.sideFiles.push_back(m_folder / name);
    }

    fs::path m_folder;
    RunControl* m_control;
    Model m_model;
    Checkpoint m_checkpoint;
    std::optional<CompressedTensorsConfig> m_scheme;
    std::set<std::string> m_used;
    std::set<std::string> m_quantizedParts;
};

Model loadGguf(const fs::path& path, RunControl* control) {
    const GgufFile file = GgufFile::read(MappedFile::open(path));
    Model model;
    model.config = modelConfigFromGguf(file);
    model.name = file.findString("general.name").value_or(path.stem().string());
    if (model.name.empty() || !isPlainText(model.name))
        model.name = path.stem().string();
    model.path = path.string();
    model.format = "gguf";
    model.files = {file.file()};
    model.fileBytes = file.file()->size();
    for (const TensorPlace& place : tensorPlaces(model.config)) {
        if (control)
            control->check();
        const auto found = file.tensors().find(place.gguf);
        if (found == file.tensors().end()) {
            if (place.is(kOptional) || (place.is(kTiedHead) && model.config.tiedEmbeddings))
                continue;
            throwBadInput(file.origin(), "missing tensor " + inQuotes(place.gguf));
        }
        model.weights.emplace(place.canonical, readPlainWeight(place, model.config, found->second,
                                                               place.gguf, {false, true}));
        model.fileNames.emplace(place.canonical, place.gguf);
    }
    for (const auto& [name, stored] : file.tensors())
        model.fileTensors.push_back(reportOf(name, stored));
    model.tokenizer = Tokenizer::fromGguf(tokenizerFromGguf(file), file.origin());
    return model;
}

/// A token without an embedding row would read outside the matrix. Gemma's Hugging Face files have
/// such a token, for images: control tokens past the end are let through, and never come from plain
/// text.
void checkVocabulary(Model& model) {
    const std::int64_t tokens = model.tokenizer->vocabularySize(),
                       rows = model.config.vocabularySize;
    if (tokens == rows)
        return;
    const std::string sizes = "the tokenizer has " + std::to_string(tokens) +
                              " tokens, the embedding " + std::to_string(rows) + " rows";
    if (tokens > rows) {
        const GgufTokenizerData data = model.tokenizer->toGguf();
        for (std::size_t id = static_cast<std::size_t>(rows); id < data.tokens.size(); ++id)
            if (id >= data.tokenTypes.size() || data.tokenTypes[id] != kControlToken)
                throwBadInput(model.path, "vocabulary mismatch: " + sizes);
        model.warnings.push_back(sizes + "; the special tokens past the end cannot be used");
        return;
    }
    model.warnings.push_back(sizes + "; the rest is padding");
}

fs::path bundled(const char* name) {
    const fs::path folder = resourcesFolder() / "demo" / name;
    if (!isThere(folder / "config.json"))
        throwBadInput(folder.string(),
                      "the bundled demo model was not found; set FETTLE_RESOURCES to the folder "
                      "that holds demo/");
    return folder;
}

Model loadFolder(const fs::path& folder, RunControl* control) {
    if (isThere(folder / "config.json"))
        return FolderLoader(folder, control).load();
    std::vector<fs::path> gguf;
    for (const fs::path& file : filesOf(folder))
        if (file.extension() == ".gguf")
            gguf.push_back(file);
    if (gguf.size() == 1)
        return loadGguf(gguf.front(), control);
    if (gguf.size() > 1)
        throwBadInput(folder.string(), "holds several GGUF files; name one, such as " +
                                           inQuotes(gguf.front().filename().string()));
    refuseFolder(folder, "config.json");
}

Model loadFile(const fs::path& path, RunControl* control) {
    const std::string name = path.filename().string();
    if (name == "config.json" || name == "model.safetensors" ||
        name == "model.safetensors.index.json")
        return loadFolder(path.parent_path().empty() ? fs::path(".") : path.parent_path(), control);
    if (path.extension() == ".gguf")
        return loadGguf(path, control);
    if (isPickle(path))
        refusePickle(path);
    if (path.extension() == ".onnx")
        refuseOnnx(path);
    if (path.extension() == ".safetensors")
        throwBadInput(
            path.string(),
            "needs the config.json and tokenizer of its model; name the folder that holds them");
    if (MappedFile::open(path)->text().starts_with("GGUF"))
        return loadGguf(path, control);
    throwBadInput(path.string(),
                  "is neither a GGUF file nor a Hugging Face model folder (unknown format)");
}

}  // namespace

Model loadModel(const std::string& pathOrName, RunControl* control) {
    fs::path path = pathOrName;
    if (pathOrName == "demo")
        path = bundled("teacher");
    else if (pathOrName == "demo-draft")
        path = bundled("draft");
    if (path.filename().empty() && path.has_parent_path())
        path = path.parent_path();  // a trailing slash
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (status.type() == fs::file_type::not_found)
        throwBadInput(pathOrName.empty() ? "\"\"" : pathOrName, "no such file or folder");
    if (error)
        throwBadInput(pathOrName, error == std::errc::too_many_symbolic_link_levels
                                      ? "symbolic links go round in a circle"
                                      : error.message());
    Model model = status.type() == fs::file_type::directory ? loadFolder(path, control)
                                                            : loadFile(path, control);
    checkVocabulary(model);
    return model;
}

}  // namespace fettle
