// Small model files made on the spot, whole or broken on purpose: Hugging Face folders and GGUF
// files of every family, with random weights and a tokenizer of single bytes.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include <unistd.h>

#include "engine/model/architectures/architecture.h"
#include "engine/model/model.h"

namespace fettle::test {

namespace fs = std::filesystem;
using nlohmann::json;

/// A folder that is gone with the test.
class TempFolder {
public:
    TempFolder() {
        std::string pattern = (fs::temp_directory_path() / "fettle-test-XXXXXX").string();
        m_path = mkdtemp(pattern.data());
    }
    ~TempFolder() {
        std::error_code ignored;
        fs::remove_all(m_path, ignored);
    }
    TempFolder(const TempFolder&) = delete;
    TempFolder& operator=(const TempFolder&) = delete;
    const fs::path& path() const { return m_path; }
    fs::path operator/(const std::string& name) const { return m_path / name; }

private:
    fs::path m_path;
};

inline void writeFile(const fs::path& path, const std::string& bytes) {
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

inline std::string readFile(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
}

template <typename T>
std::string raw(T value) {
    return {reinterpret_cast<const char*>(&value), sizeof value};
}

constexpr int kVocabulary = 64;

/// Tokens of one printable character each, from '!' on; id 0 is the end of text, the last one a
/// pair.
inline std::string tokenName(int id) {
    if (id == kVocabulary - 1)
        return "AB";
    return id == 0 ? "<|end|>" : std::string(1, static_cast<char>('!' + id - 1));
}

inline std::string tokenizerJson(int tokens = kVocabulary) {
    json vocabulary = json::object();
    for (int id = 0; id < tokens; ++id)
        vocabulary[id < kVocabulary ? tokenName(id) : "x" + std::to_string(id)] = id;
    const json merges = tokens >= kVocabulary ? json::array({"A B"}) : json::array();
    const json special = {{"id", 0},         {"content", "<|end|>"}, {"single_word", false},
                          {"lstrip", false}, {"rstrip", false},      {"normalized", false},
                          {"special", true}};
    const json byteLevel = {{"type", "ByteLevel"},
                            {"add_prefix_space", false},
                            {"trim_offsets", true},
                            {"use_regex", true}};
    return json{{"version", "1.0"},
                {"truncation", nullptr},
                {"padding", nullptr},
                {"added_tokens", json::array({special})},
                {"normalizer", nullptr},
                {"pre_tokenizer", byteLevel},
                {"post_processor", nullptr},
                {"decoder", byteLevel},
                {"model",
                 {{"type", "BPE"},
                  {"dropout", nullptr},
                  {"unk_token", nullptr},
                  {"continuing_subword_prefix", nullptr},
                  {"end_of_word_suffix", nullptr},
                  {"fuse_unk", false},
                  {"byte_fallback", false},
                  {"vocab", vocabulary},
                  {"merges", merges}}}}
        .dump();
}

/// config.json of a two- or three-layer model of the family. head_dim * heads differs from
/// hidden_size where it may.
inline json tinyConfig(const std::string& family) {
    if (family == "gpt2")
        return {{"model_type", "gpt2"},
                {"architectures", {"GPT2LMHeadModel"}},
                {"vocab_size", kVocabulary},
                {"n_embd", 64},
                {"n_head", 4},
                {"n_layer", 2},
                {"n_positions", 32},
                {"n_inner", 96},
                {"activation_function", "gelu_new"},
                {"layer_norm_epsilon", 1e-5},
                {"dtype", "float32"}};
    json config = {{"vocab_size", kVocabulary},
                   {"hidden_size", 64},
                   {"intermediate_size", 96},
                   {"num_hidden_layers", 2},
                   {"num_attention_heads", 4},
                   {"num_key_value_heads", 2},
                   {"head_dim", 32},
                   {"max_position_embeddings", 128},
                   {"rms_norm_eps", 1e-6},
                   {"dtype", "bfloat16"},
                   {"tie_word_embeddings", family != "llama"}};
    if (family == "gemma3") {
        config["model_type"] = "gemma3_text";
        config["architectures"] = {"Gemma3ForCausalLM"};
        config["num_hidden_layers"] = 3;
        config["query_pre_attn_scalar"] = 32;
        config["sliding_window"] = 8;
        config["layer_types"] = {"sliding_attention", "full_attention", "sliding_attention"};
        config["rope_theta"] = 1e6;
        config["rope_local_base_freq"] = 1e4;
        config["hidden_activation"] = "gelu_pytorch_tanh";
        return config;
    }
    config["model_type"] = family;
    config["architectures"] = {family == "llama" ? "LlamaForCausalLM" : "Qwen3ForCausalLM"};
    config["hidden_act"] = "silu";
    config["rope_theta"] = 1e4;
    return config;
}

struct FileTensor {
    std::string dtype;
    std::vector<std::int64_t> shape;
    std::string bytes;
};
using FileTensors = std::map<std::string, FileTensor>;

inline std::string randomBf16(std::int64_t count, std::mt19937& rng) {
    std::normal_distribution<float> normal(0, 0.1f);
    std::string bytes;
    for (std::int64_t i = 0; i < count; ++i)
        bytes += raw(kernels::floatToBfloat16(normal(rng)));
    return bytes;
}

/// The tensors of a Hugging Face file that this configuration asks for, in BF16.
inline FileTensors tinyTensors(const json& config, unsigned seed = 1) {
    std::mt19937 rng(seed);
    FileTensors tensors;
    const ModelConfig parsed = modelConfigFromHuggingFace(config, "tiny config.json");
    for (const TensorPlace& place : tensorPlaces(parsed)) {
        if (place.is(kOptional) || (place.is(kTiedHead) && parsed.tiedEmbeddings) ||
            place.rule->part > 0)
            continue;
        const std::int64_t rows = place.rule->part == 0 ? 3 * place.rows : place.rows;
        FileTensor tensor{"BF16", {rows}, {}};
        if (place.cols > 0)
            tensor.shape = place.is(kTransposed) ? std::vector<std::int64_t>{place.cols, rows}
                                                 : std::vector<std::int64_t>{rows, place.cols};
        tensor.bytes = randomBf16(elementCount(tensor.shape), rng);
        tensors[place.huggingFace] = std::move(tensor);
    }
    return tensors;
}

inline json safetensorsHeader(const FileTensors& tensors) {
    json header = {{"__metadata__", {{"format", "pt"}}}};
    std::uint64_t offset = 0;
    for (const auto& [name, tensor] : tensors) {
        header[name] = {{"dtype", tensor.dtype},
                        {"shape", tensor.shape},
                        {"data_offsets", {offset, offset + tensor.bytes.size()}}};
        offset += tensor.bytes.size();
    }
    return header;
}

inline std::string safetensorsBytes(const FileTensors& tensors,
                                    const std::function<void(json&)>& change = {}) {
    json header = safetensorsHeader(tensors);
    if (change)
        change(header);
    std::string text = header.dump();
    text.append((8 - text.size() % 8) % 8, ' ');
    std::string bytes = raw(static_cast<std::uint64_t>(text.size())) + text;
    for (const auto& [name, tensor] : tensors)
        bytes += tensor.bytes;
    return bytes;
}

/// A whole folder; `change` may alter what is written before it is.
struct FolderParts {
    json config;
    FileTensors tensors;
    std::string tokenizer = tokenizerJson();
};
inline FolderParts tinyParts(const std::string& family) {
    FolderParts parts;
    parts.config = tinyConfig(family);
    parts.tensors = tinyTensors(parts.config);
    return parts;
}
inline void writeFolder(const fs::path& folder, const FolderParts& parts) {
    writeFile(folder / "config.json", parts.config.dump(2));
    writeFile(folder / "tokenizer.json", parts.tokenizer);
    writeFile(folder / "model.safetensors", safetensorsBytes(parts.tensors));
}

/// A GGUF file in pieces, each of which a test may overstate.
class GgufBytes {
public:
    struct Info {
        std::string name;
        std::vector<std::uint64_t> dims;
        std::uint32_t type = 0;
        std::uint64_t offset = 0;
        std::string bytes;
    };

    std::string magic = "GGUF";
    std::uint32_t version = 3;
    std::vector<std::string> keys;
    std::vector<Info> tensors;
    std::int64_t keyCount = -1;
    std::int64_t tensorCount = -1;
    std::uint64_t alignment = 32;

    static std::string text(const std::string& value) {
        return raw(static_cast<std::uint64_t>(value.size())) + value;
    }
    void key(const std::string& name, std::uint32_t type, const std::string& value) {
        keys.push_back(text(name) + raw(type) + value);
    }
    void u32(const std::string& name, std::uint32_t value) { key(name, 4, raw(value)); }
    void f32(const std::string& name, float value) { key(name, 6, raw(value)); }
    void string(const std::string& name, const std::string& value) { key(name, 8, text(value)); }
    void strings(const std::string& name, const std::vector<std::string>& values) {
        std::string bytes = raw(std::uint32_t{8}) + raw(static_cast<std::uint64_t>(values.size()));
        for (const std::string& value : values)
            bytes += text(value);
        key(name, 9, bytes);
    }
    /// Replaces the value of a key written before.
    void replace(const std::string& name, const std::string& whole) {
        for (std::string& entry : keys)
            if (entry.starts_with(text(name)))
                entry = whole;
    }
    void remove(const std::string& name) {
        std::erase_if(keys,
                      [&](const std::string& entry) { return entry.starts_with(text(name)); });
    }
    Info& tensor(const std::string& name) {
        for (Info& info : tensors)
            if (info.name == name)
                return info;
        throw std::runtime_error("no tensor " + name);
    }
    void add(const std::string& name, std::vector<std::uint64_t> dims, std::uint32_t type,
             std::string bytes) {
        std::uint64_t offset = 0;
        if (!tensors.empty())
            offset = (tensors.back().offset + tensors.back().bytes.size() + alignment - 1) /
                     alignment * alignment;
        tensors.push_back({name, std::move(dims), type, offset, std::move(bytes)});
    }

    std::string build() const {
        std::string out = magic + raw(version) +
                          raw(tensorCount < 0 ? static_cast<std::uint64_t>(tensors.size())
                                              : static_cast<std::uint64_t>(tensorCount)) +
                          raw(keyCount < 0 ? static_cast<std::uint64_t>(keys.size())
                                           : static_cast<std::uint64_t>(keyCount));
        for (const std::string& entry : keys)
            out += entry;
        for (const Info& info : tensors) {
            out += text(info.name) + raw(static_cast<std::uint32_t>(info.dims.size()));
            for (const std::uint64_t d : info.dims)
                out += raw(d);
            out += raw(info.type) + raw(info.offset);
        }
        for (const Info& info : tensors) {
            out.append((32 - out.size() % 32) % 32, '\0');
            out += info.bytes;
        }
        return out;
    }
};

/// A llama of the same shape as tinyConfig("llama"), all tensors F32.
inline GgufBytes tinyGguf() {
    GgufBytes file;
    file.string("general.architecture", "llama");
    file.string("general.name", "tiny");
    file.u32("llama.block_count", 1);
    file.u32("llama.context_length", 128);
    file.u32("llama.embedding_length", 64);
    file.u32("llama.feed_forward_length", 96);
    file.u32("llama.attention.head_count", 4);
    file.u32("llama.attention.head_count_kv", 2);
    file.u32("llama.attention.key_length", 16);
    file.f32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    file.f32("llama.rope.freq_base", 10000);
    file.string("tokenizer.ggml.model", "gpt2");
    file.string("tokenizer.ggml.pre", "gpt-2");
    std::vector<std::string> tokens;
    for (int id = 0; id < kVocabulary; ++id)
        tokens.push_back(tokenName(id));
    file.strings("tokenizer.ggml.tokens", tokens);
    file.strings("tokenizer.ggml.merges", {"A B"});
    file.u32("tokenizer.ggml.eos_token_id", 0);
    std::mt19937 rng(3);
    std::normal_distribution<float> normal(0, 0.1f);
    const auto add = [&](const std::string& name, std::vector<std::uint64_t> dims) {
        std::uint64_t count = 1;
        for (const std::uint64_t d : dims)
            count *= d;
        std::string bytes;
        for (std::uint64_t i = 0; i < count; ++i)
            bytes += raw(normal(rng));
        file.add(name, std::move(dims), 0, std::move(bytes));
    };
    add("token_embd.weight", {64, kVocabulary});
    add("blk.0.attn_norm.weight", {64});
    add("blk.0.attn_q.weight", {64, 64});
    add("blk.0.attn_k.weight", {64, 32});
    add("blk.0.attn_v.weight", {64, 32});
    add("blk.0.attn_output.weight", {64, 64});
    add("blk.0.ffn_norm.weight", {64});
    add("blk.0.ffn_gate.weight", {64, 96});
    add("blk.0.ffn_up.weight", {64, 96});
    add("blk.0.ffn_down.weight", {96, 64});
    add("output_norm.weight", {64});
    return file;
}

/// A RunControl that nobody cancels.
struct QuietControl {
    NullProgress sink;
    RunControl control{std::stop_token(), nullptr, sink};
};

}  // namespace fettle::test
