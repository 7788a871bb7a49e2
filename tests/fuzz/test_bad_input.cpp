// Files that lie: each must be refused with one line that names the file and the cause, quickly,
// and without reading outside the file (run this under the sanitizers). Then thousands of random
// changes, which may be refused or not.
#include <gtest/gtest.h>

#include <sys/stat.h>

#include <chrono>
#include <cmath>
#include <tuple>

#include "engine/core/error.h"
#include "tests/support/model_files.h"

namespace fettle::test {
namespace {

struct BadInput {
    std::string name;
    std::string file;                                      ///< must stand in the message
    std::string cause;                                     ///< must stand in the message
    std::function<fs::path(const fs::path& folder)> make;  ///< gives the path to load
};

// -- broken GGUF
// ------------------------------------------------------------------------------------------------------

BadInput gguf(const std::string& name, const std::string& cause,
              const std::function<void(GgufBytes&)>& change) {
    return {"gguf: " + name, "bad.gguf", cause, [change](const fs::path& folder) {
                GgufBytes file = tinyGguf();
                change(file);
                writeFile(folder / "bad.gguf", file.build());
                return folder / "bad.gguf";
            }};
}

BadInput ggufBytes(const std::string& name, const std::string& cause,
                   const std::function<void(std::string&)>& change) {
    return {"gguf: " + name, "bad.gguf", cause, [change](const fs::path& folder) {
                std::string bytes = tinyGguf().build();
                change(bytes);
                writeFile(folder / "bad.gguf", bytes);
                return folder / "bad.gguf";
            }};
}

std::string keyBytes(const std::string& name, std::uint32_t type, const std::string& value) {
    return GgufBytes::text(name) + raw(type) + value;
}

void addGgufContainer(std::vector<BadInput>& list) {
    const auto u64 = [](std::uint64_t v) { return raw(v); };
    list.push_back(gguf("wrong magic", "not a GGUF file", [](GgufBytes& f) { f.magic = "GGML"; }));
    list.push_back(gguf("turned magic", "big-endian", [](GgufBytes& f) { f.magic = "FUGG"; }));
    list.push_back(gguf("big-endian", "big-endian", [](GgufBytes& f) { f.version = 0x03000000; }));
    list.push_back(gguf("version 1", "version 1", [](GgufBytes& f) { f.version = 1; }));
    list.push_back(gguf("version 99", "version 99", [](GgufBytes& f) { f.version = 99; }));
    list.push_back(
        gguf("key count huge", "key count", [](GgufBytes& f) { f.keyCount = INT64_MAX; }));
    list.push_back(gguf("key count one more", "", [](GgufBytes& f) {
        f.keyCount = static_cast<std::int64_t>(f.keys.size()) + 1;
    }));
    list.push_back(
        gguf("tensor count huge", "tensor count", [](GgufBytes& f) { f.tensorCount = INT64_MAX; }));
    list.push_back(gguf("tensor count one more", "", [](GgufBytes& f) {
        f.tensorCount = static_cast<std::int64_t>(f.tensors.size()) + 1;
    }));
    list.push_back(gguf("key name length huge", "truncated",
                        [&](GgufBytes& f) { f.keys.insert(f.keys.begin(), u64(~0ull) + "x"); }));
    list.push_back(gguf("key without a name", "name", [](GgufBytes& f) {
        f.keys.insert(f.keys.begin(), keyBytes("", 4, raw(1u)));
    }));
    list.push_back(gguf("key with NUL", "name", [](GgufBytes& f) {
        f.keys.insert(f.keys.begin(), keyBytes(std::string("a\0b", 3), 4, raw(1u)));
    }));
    list.push_back(
        gguf("key twice", "duplicate", [](GgufBytes& f) { f.keys.push_back(f.keys[2]); }));
    list.push_back(gguf("value type unknown", "unknown value type",
                        [](GgufBytes& f) { f.keys.push_back(keyBytes("x", 13, "")); }));
    list.push_back(gguf("bool of 7", "neither true nor false",
                        [](GgufBytes& f) { f.keys.push_back(keyBytes("x", 7, "\7")); }));
    list.push_back(gguf("string length huge", "truncated", [&](GgufBytes& f) {
        f.keys.push_back(keyBytes("x", 8, u64(1ull << 60)));
    }));
    list.push_back(gguf("array count huge", "array count", [&](GgufBytes& f) {
        f.keys.push_back(keyBytes("x", 9, raw(4u) + u64(1ull << 62)));
    }));
    list.push_back(gguf("string array count huge", "array count", [&](GgufBytes& f) {
        f.keys.push_back(keyBytes("x", 9, raw(8u) + u64(1ull << 40)));
    }));
    list.push_back(gguf("string in array too long", "truncated", [&](GgufBytes& f) {
        f.keys.push_back(keyBytes("x", 9, raw(8u) + u64(1) + u64(1ull << 50)));
    }));
    list.push_back(gguf("array of arrays", "array of arrays", [&](GgufBytes& f) {
        f.keys.push_back(keyBytes("x", 9, raw(9u) + u64(1)));
    }));
    list.push_back(gguf("array of unknown type", "unknown type", [&](GgufBytes& f) {
        f.keys.push_back(keyBytes("x", 9, raw(77u) + u64(1)));
    }));
    list.push_back(
        gguf("alignment 0", "alignment", [](GgufBytes& f) { f.u32("general.alignment", 0); }));
    list.push_back(
        gguf("alignment 48", "power of two", [](GgufBytes& f) { f.u32("general.alignment", 48); }));
    list.push_back(gguf("alignment 2^31", "power of two",
                        [](GgufBytes& f) { f.u32("general.alignment", 1u << 31); }));
    list.push_back(gguf("alignment a string", "whole number",
                        [](GgufBytes& f) { f.string("general.alignment", "32"); }));
    list.push_back(gguf("split file", "split",
                        [](GgufBytes& f) { f.key("split.count", 2, raw(std::uint16_t{3})); }));
}

void addGgufTensors(std::vector<BadInput>& list) {
    const std::string q = "blk.0.attn_q.weight";
    list.push_back(
        gguf("no dimensions", "dimensions", [=](GgufBytes& f) { f.tensor(q).dims.clear(); }));
    list.push_back(gguf("five dimensions", "dimensions", [=](GgufBytes& f) {
        f.tensor(q).dims = {2, 2, 2, 2, 2};
    }));
    list.push_back(
        gguf("dimension 0", "dimension", [=](GgufBytes& f) { f.tensor(q).dims[0] = 0; }));
    list.push_back(gguf("dimension 2^63", "dimension",
                        [=](GgufBytes& f) { f.tensor(q).dims[1] = 1ull << 63; }));
    list.push_back(gguf("dimensions overflow", "overflow", [=](GgufBytes& f) {
        f.tensor(q).dims = {1ull << 40, 1ull << 40};
    }));
    list.push_back(gguf("size overflow", "overflow", [=](GgufBytes& f) {
        f.tensor(q).dims = {1ull << 61, 3};
    }));
    list.push_back(
        gguf("rows too many", "", [=](GgufBytes& f) { f.tensor(q).dims[1] = 1ull << 30; }));
    list.push_back(gguf("unknown ggml type", "unknown ggml type",
                        [=](GgufBytes& f) { f.tensor(q).type = 99; }));
    list.push_back(gguf("type without a kernel", "Q2_K", [=](GgufBytes& f) {
        f.tensor(q).dims = {256, 16};
        f.tensor(q).type = 10;
        const std::size_t size = f.tensor(q).bytes.size();
        f.tensor(q).bytes.assign(16 * 84, '\0');
        for (auto& info : f.tensors)
            if (info.offset > f.tensor(q).offset)
                info.offset -= size - 16 * 84;
    }));
    list.push_back(gguf("row no multiple of the block", "multiple", [=](GgufBytes& f) {
        f.tensor(q).dims = {33, 64};
        f.tensor(q).type = 8;
    }));
    list.push_back(
        gguf("offset misaligned", "misaligned", [=](GgufBytes& f) { f.tensor(q).offset += 4; }));
    list.push_back(gguf("offset past the end", "",
                        [=](GgufBytes& f) { f.tensors.back().offset = 1ull << 40; }));
    list.push_back(gguf("offset at the limit", "",
                        [=](GgufBytes& f) { f.tensors.back().offset = ~0ull - 31; }));
    list.push_back(gguf("overlap", "overlaps", [=](GgufBytes& f) { f.tensor(q).offset = 0; }));
    list.push_back(gguf("hole", "hole", [=](GgufBytes& f) { f.tensor(q).offset += 64; }));
    list.push_back(gguf("tensor twice", "duplicate", [=](GgufBytes& f) {
        f.tensor("blk.0.attn_k.weight").name = "blk.0.attn_v.weight";
    }));
    list.push_back(
        gguf("tensor without a name", "name", [=](GgufBytes& f) { f.tensor(q).name.clear(); }));
    list.push_back(gguf("tensor name with NUL", "name",
                        [=](GgufBytes& f) { f.tensor(q).name = std::string("a\0b", 3); }));
    list.push_back(gguf("missing tensor", "missing tensor",
                        [=](GgufBytes& f) { f.tensor(q).name = "blk.0.attn_x.weight"; }));
    list.push_back(gguf("missing embedding", "missing tensor",
                        [=](GgufBytes& f) { f.tensor("token_embd.weight").name = "embd"; }));
    list.push_back(gguf("wrong shape", "shape", [=](GgufBytes& f) {
        f.tensor(q).dims = {32, 128};
    }));
    list.push_back(gguf("norm quantized", "not supported", [=](GgufBytes& f) {
        auto& norm = f.tensors.back();
        norm.type = 8;
        norm.bytes.resize(68);
    }));
    for (const std::size_t size : {3, 7, 15, 23, 24, 40, 200, 1500, 3000, 20000})
        list.push_back(ggufBytes("cut to " + std::to_string(size), "",
                                 [=](std::string& bytes) { bytes.resize(size); }));
    list.push_back(
        ggufBytes("one byte short", "truncated", [](std::string& bytes) { bytes.pop_back(); }));
}

void addGgufModel(std::vector<BadInput>& list) {
    const auto set = [](const std::string& key, std::uint32_t value) {
        return [=](GgufBytes& f) { f.replace(key, keyBytes(key, 4, raw(value))); };
    };
    list.push_back(gguf("no architecture", "general.architecture",
                        [](GgufBytes& f) { f.remove("general.architecture"); }));
    list.push_back(gguf("other architecture", "supported are llama", [](GgufBytes& f) {
        f.replace("general.architecture",
                  keyBytes("general.architecture", 8, GgufBytes::text("mamba")));
    }));
    list.push_back(gguf("architecture a number", "wanted string", [](GgufBytes& f) {
        f.replace("general.architecture", keyBytes("general.architecture", 4, raw(7u)));
    }));
    list.push_back(gguf("an adapter", "not a model",
                        [](GgufBytes& f) { f.string("general.type", "adapter"); }));
    list.push_back(
        gguf("no layer count", "block_count", [](GgufBytes& f) { f.remove("llama.block_count"); }));
    list.push_back(gguf("no layers", "num_hidden_layers", set("llama.block_count", 0)));
    list.push_back(
        gguf("too many layers", "num_hidden_layers", set("llama.block_count", 4000000000u)));
    list.push_back(gguf("one layer more", "missing tensor", set("llama.block_count", 2)));
    list.push_back(gguf("no heads", "num_attention_heads", set("llama.attention.head_count", 0)));
    list.push_back(gguf("heads do not divide", "heads", set("llama.attention.head_count", 3)));
    list.push_back(
        gguf("hidden size 2^32-1", "hidden_size", set("llama.embedding_length", 0xFFFFFFFFu)));
    list.push_back(gguf("head size 0", "head_dim", set("llama.attention.key_length", 0)));
    list.push_back(gguf("epsilon NaN", "rms_norm_eps", [](GgufBytes& f) {
        f.replace("llama.attention.layer_norm_rms_epsilon",
                  keyBytes("llama.attention.layer_norm_rms_epsilon", 6, raw(NAN)));
    }));
    list.push_back(gguf("rope base negative", "rope_theta", [](GgufBytes& f) {
        f.replace("llama.rope.freq_base", keyBytes("llama.rope.freq_base", 6, raw(-1.0f)));
    }));
    list.push_back(gguf("yarn", "rope_type",
                        [](GgufBytes& f) { f.string("llama.rope.scaling.type", "yarn"); }));
    list.push_back(gguf("mixture of experts", "experts",
                        [](GgufBytes& f) { f.u32("llama.expert_count", 8); }));
    list.push_back(
        gguf("no tokenizer", "tokenizer", [](GgufBytes& f) { f.remove("tokenizer.ggml.tokens"); }));
    list.push_back(gguf("tokens are numbers", "array of strings", [](GgufBytes& f) {
        f.replace("tokenizer.ggml.tokens",
                  keyBytes("tokenizer.ggml.tokens", 9, raw(4u) + raw(std::uint64_t{1}) + raw(1u)));
    }));
    list.push_back(gguf("scores too few", "wrong length", [](GgufBytes& f) {
        f.key("tokenizer.ggml.scores", 9, raw(6u) + raw(std::uint64_t{1}) + raw(1.0f));
    }));
    list.push_back(gguf("end of text outside the tokens", "outside",
                        set("tokenizer.ggml.eos_token_id", 5000)));
    list.push_back(gguf("more tokens than rows", "vocabulary", [](GgufBytes& f) {
        std::vector<std::string> tokens;
        for (int i = 0; i < kVocabulary + 5; ++i)
            tokens.push_back(i < kVocabulary ? tokenName(i) : "t" + std::to_string(i));
        f.remove("tokenizer.ggml.tokens");
        f.strings("tokenizer.ggml.tokens", tokens);
    }));
}

// -- broken safetensors
// -----------------------------------------------------------------------------------------------

BadInput header(const std::string& name, const std::string& cause,
                const std::function<void(json&)>& change) {
    return {"safetensors: " + name, "model.safetensors", cause, [change](const fs::path& folder) {
                const FolderParts parts = tinyParts("llama");
                writeFolder(folder, parts);
                writeFile(folder / "model.safetensors", safetensorsBytes(parts.tensors, change));
                return folder;
            }};
}

BadInput fileBytes(const std::string& name, const std::string& cause,
                   const std::function<void(std::string&)>& change) {
    return {"safetensors: " + name, "model.safetensors", cause, [change](const fs::path& folder) {
                const FolderParts parts = tinyParts("llama");
                writeFolder(folder, parts);
                std::string bytes = safetensorsBytes(parts.tensors);
                change(bytes);
                writeFile(folder / "model.safetensors", bytes);
                return folder;
            }};
}

/// A file whose header is this text.
BadInput headerText(const std::string& name, const std::string& cause, const std::string& text) {
    return fileBytes(name, cause, [text](std::string& bytes) {
        bytes = raw(static_cast<std::uint64_t>(text.size())) + text;
    });
}

void addSafetensors(std::vector<BadInput>& list) {
    const std::string norm = "model.norm.weight";
    list.push_back(fileBytes("empty", "empty", [](std::string& b) { b.clear(); }));
    list.push_back(fileBytes("five bytes", "truncated", [](std::string& b) { b.resize(5); }));
    list.push_back(fileBytes("length 2^64-1", "header length",
                             [](std::string& b) { b.replace(0, 8, raw(~0ull)); }));
    list.push_back(fileBytes("length past the end", "header length", [](std::string& b) {
        b.replace(0, 8, raw(static_cast<std::uint64_t>(b.size())));
    }));
    list.push_back(fileBytes("length one short", "JSON",
                             [](std::string& b) { b.replace(0, 8, raw(std::uint64_t{100})); }));
    list.push_back(
        fileBytes("cut in the header", "header length", [](std::string& b) { b.resize(60); }));
    list.push_back(
        fileBytes("cut in the data", "outside", [](std::string& b) { b.resize(b.size() - 1); }));
    list.push_back(fileBytes("data at the end", "hole", [](std::string& b) { b += "more"; }));
    list.push_back(fileBytes("is a web page", "header length", [](std::string& b) {
        b = "<!DOCTYPE html><html><body>404</body></html>";
    }));
    list.push_back(headerText("header a list", "not a JSON object", "[1, 2]"));
    list.push_back(headerText("header nested deeply", "deeper", std::string(100000, '[')));
    list.push_back(headerText("header objects nested deeply", "deeper", [] {
        std::string text;
        for (int i = 0; i < 50000; ++i)
            text += "{\"a\":";
        return text;
    }()));
    list.push_back(headerText(
        "key twice", "duplicate",
        R"({"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})"));
    list.push_back(headerText("name with NUL", "NUL",
                              R"({"a\u0000b":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})"));
    list.push_back(headerText("not UTF-8", "JSON", "{\"\xff\xfe\": 1}"));
    list.push_back(headerText("number too large", "JSON",
                              R"({"a":{"dtype":"F32","shape":[1e999],"data_offsets":[0,0]}})"));
    list.push_back(header("entry no object", "lacks", [=](json& h) { h[norm] = 3; }));
    list.push_back(header("no offsets", "lacks", [=](json& h) { h[norm].erase("data_offsets"); }));
    list.push_back(
        header("dtype unknown", "unknown dtype", [=](json& h) { h[norm]["dtype"] = "F13"; }));
    list.push_back(header("dtype a number", "dtype", [=](json& h) { h[norm]["dtype"] = 4; }));
    list.push_back(header("shape no list", "shape", [=](json& h) { h[norm]["shape"] = 64; }));
    list.push_back(
        header("dimension negative", "dimension", [=](json& h) { h[norm]["shape"] = {-64}; }));
    list.push_back(
        header("dimension a fraction", "dimension", [=](json& h) { h[norm]["shape"] = {6.4}; }));
    list.push_back(header("dimensions overflow", "overflow", [=](json& h) {
        h[norm]["shape"] = {1ull << 40, 1ull << 40};
    }));
    list.push_back(header("bytes beyond any file", "wants", [=](json& h) {
        h[norm]["shape"] = {1ull << 61, 3};
    }));
    list.push_back(header("offsets turned", "outside", [=](json& h) {
        h[norm]["data_offsets"] = {128, 0};
    }));
    list.push_back(header("offsets past the end", "outside", [=](json& h) {
        h[norm]["data_offsets"] = {1ull << 40, (1ull << 40) + 128};
    }));
    list.push_back(header("offset negative", "data offset", [=](json& h) {
        h[norm]["data_offsets"] = {-128, 0};
    }));
    list.push_back(header("three offsets", "data_offsets", [=](json& h) {
        h[norm]["data_offsets"] = {0, 1, 2};
    }));
    list.push_back(
        header("size and offsets differ", "wants", [=](json& h) { h[norm]["shape"] = {63}; }));
    list.push_back(header("overlap", "overlaps", [=](json& h) {
        h[norm]["data_offsets"] = {0, 128};
    }));
    list.push_back(header("hole", "hole", [=](json& h) { h.erase(norm); }));
    list.push_back(header("empty name", "name", [=](json& h) { h[""] = h[norm]; }));
}

// -- broken folders
// -----------------------------------------------------------------------------------------------------

BadInput folder(const std::string& name, const std::string& file, const std::string& cause,
                const std::function<void(FolderParts&)>& change,
                const std::string& family = "llama") {
    return {"folder: " + name, file, cause, [change, family](const fs::path& path) {
                FolderParts parts = tinyParts(family);
                change(parts);
                writeFolder(path, parts);
                return path;
            }};
}

BadInput config(const std::string& name, const std::string& cause,
                const std::function<void(json&)>& change, const std::string& family = "llama") {
    return folder(
        "config " + name, "config.json", cause,
        [change](FolderParts& parts) { change(parts.config); }, family);
}

BadInput place(const std::string& name, const std::string& file, const std::string& cause,
               const std::function<fs::path(const fs::path&)>& make) {
    return {"path: " + name, file, cause, make};
}

void addConfigs(std::vector<BadInput>& list) {
    list.push_back(config("no model type", "model_type", [](json& c) { c.erase("model_type"); }));
    list.push_back(config("other family", "supported are llama, qwen3, gpt2, gemma3",
                          [](json& c) { c["model_type"] = "mamba"; }));
    list.push_back(config("a classifier", "not a language model", [](json& c) {
        c["architectures"] = {"LlamaForSequenceClassification"};
    }));
    list.push_back(config("hidden size 0", "hidden_size", [](json& c) { c["hidden_size"] = 0; }));
    list.push_back(
        config("hidden size negative", "hidden_size", [](json& c) { c["hidden_size"] = -64; }));
    list.push_back(config("hidden size 1e12", "hidden_size",
                          [](json& c) { c["hidden_size"] = 1000000000000; }));
    list.push_back(
        config("hidden size a fraction", "whole number", [](json& c) { c["hidden_size"] = 1e12; }));
    list.push_back(
        config("hidden size a string", "whole number", [](json& c) { c["hidden_size"] = "64"; }));
    list.push_back(config("hidden size beyond 64 bits", "hidden_size",
                          [](json& c) { c["hidden_size"] = ~0ull; }));
    list.push_back(config("layers 1e12", "num_hidden_layers",
                          [](json& c) { c["num_hidden_layers"] = 1000000000000; }));
    list.push_back(
        config("vocabulary missing", "vocab_size", [](json& c) { c.erase("vocab_size"); }));
    list.push_back(
        config("vocabulary 1e12", "vocab_size", [](json& c) { c["vocab_size"] = 1000000000000; }));
    list.push_back(config("heads do not divide", "heads do not divide",
                          [](json& c) { c["num_key_value_heads"] = 3; }));
    list.push_back(config("hidden does not divide", "does not divide", [](json& c) {
        c["num_attention_heads"] = 6;
        c.erase("head_dim");
    }));
    list.push_back(config("head size odd", "head_dim", [](json& c) { c["head_dim"] = 31; }));
    list.push_back(config("epsilon 0", "rms_norm_eps", [](json& c) { c["rms_norm_eps"] = 0; }));
    list.push_back(config("tied a string", "tie_word_embeddings",
                          [](json& c) { c["tie_word_embeddings"] = "yes"; }));
    list.push_back(config("activation", "hidden_act", [](json& c) { c["hidden_act"] = "relu"; }));
    list.push_back(config("rope type", "rope_type", [](json& c) {
        c["rope_scaling"] = {{"type", "longrope"}, {"factor", 4}};
    }));
    list.push_back(config("rope parameters a list", "rope_parameters", [](json& c) {
        c["rope_parameters"] = {1, 2};
    }));
    list.push_back(config(
        "layer types too few", "layer_types",
        [](json& c) { c["layer_types"] = {"full_attention"}; }, "gemma3"));
    list.push_back(config(
        "layer type unknown", "layer_types",
        [](json& c) {
            c["layer_types"] = {"full_attention", "linear_attention", "full_attention"};
        },
        "gemma3"));
    list.push_back(config(
        "window 0", "sliding_window", [](json& c) { c["sliding_window"] = 0; }, "gemma3"));
    list.push_back(config("other quantization", "gptq", [](json& c) {
        c["quantization_config"] = {{"quant_method", "gptq"}};
    }));
    list.push_back(config("quantization without groups", "config_groups", [](json& c) {
        c["quantization_config"] = {{"quant_method", "compressed-tensors"}};
    }));
    list.push_back(config("float of six bits", "not supported", [](json& c) {
        c["quantization_config"] = {
            {"quant_method", "compressed-tensors"},
            {"format", "float-quantized"},
            {"config_groups",
             {{"group_0",
               {{"targets", {"Linear"}}, {"weights", {{"num_bits", 6}, {"type", "float"}}}}}}}};
    }));
    list.push_back(config("bits a string", "num_bits", [](json& c) {
        c["quantization_config"] = {
            {"quant_method", "compressed-tensors"},
            {"config_groups",
             {{"group_0", {{"targets", {"Linear"}}, {"weights", {{"num_bits", "four"}}}}}}}};
    }));
}

json int4Groups() {
    return {{"quant_method", "compressed-tensors"},
            {"format", "pack-quantized"},
            {"ignore", {"lm_head"}},
            {"config_groups",
             {{"group_0",
               {{"targets", {"Linear"}},
                {"weights",
                 {{"num_bits", 4},
                  {"type", "int"},
                  {"symmetric", true},
                  {"strategy", "group"},
                  {"group_size", 32}}}}}}}};
}

/// All layers' linears in place of their plain tensors, as int4-g32.
void pack(FolderParts& parts) {
    parts.config["quantization_config"] = int4Groups();
    FileTensors packed;
    for (auto& [name, tensor] : parts.tensors) {
        if (name.find("_proj.weight") == std::string::npos) {
            packed[name] = tensor;
            continue;
        }
        const std::int64_t rows = tensor.shape[0], cols = tensor.shape[1];
        packed[name + "_packed"] = {"I32",
                                    {rows, cols / 8},
                                    std::string(static_cast<std::size_t>(rows * cols / 2), '\x99')};
        packed[name + "_scale"] = {"F32", {rows, cols / 32}, std::string()};
        for (std::int64_t i = 0; i < rows * cols / 32; ++i)
            packed[name + "_scale"].bytes += raw(0.01f);
        packed[name + "_shape"] = {"I64", {2}, raw(rows) + raw(cols)};
    }
    parts.tensors = packed;
}

void addFolders(std::vector<BadInput>& list) {
    const std::string down = "model.layers.1.mlp.down_proj.weight";
    list.push_back(folder("missing tensor", "", "missing tensor",
                          [=](FolderParts& p) { p.tensors.erase(down); }));
    list.push_back(folder("missing head", "", "lm_head.weight",
                          [](FolderParts& p) { p.tensors.erase("lm_head.weight"); }));
    list.push_back(folder("wrong shape", "model.safetensors", "shape", [=](FolderParts& p) {
        std::swap(p.tensors[down].shape[0], p.tensors[down].shape[1]);
    }));
    list.push_back(folder("wrong dtype", "model.safetensors", "I32", [=](FolderParts& p) {
        p.tensors[down].dtype = "I32";
        p.tensors[down].shape[1] /= 2;
    }));
    list.push_back(folder("fp8 weight", "model.safetensors", "F8_E4M3", [=](FolderParts& p) {
        p.tensors[down].dtype = "F8_E4M3";
        p.tensors[down].shape[1] *= 2;
    }));
    list.push_back(folder("embedding smaller than vocab_size", "model.safetensors", "shape",
                          [](FolderParts& p) { p.config["vocab_size"] = 65; }));
    list.push_back(folder("layer too many", "", "missing tensor",
                          [](FolderParts& p) { p.config["num_hidden_layers"] = 3; }));
    list.push_back(folder("more tokens than rows", "", "vocabulary",
                          [](FolderParts& p) { p.tokenizer = tokenizerJson(kVocabulary + 3); }));
    list.push_back(folder("tokenizer no JSON", "tokenizer.json", "",
                          [](FolderParts& p) { p.tokenizer = "{"; }));
    list.push_back(folder("packed: no scale", "", "weight_scale", [=](FolderParts& p) {
        pack(p);
        p.tensors.erase(down + "_scale");
    }));
    list.push_back(folder("packed: no codes", "", "weight_packed", [=](FolderParts& p) {
        pack(p);
        p.tensors.erase(down + "_packed");
    }));
    list.push_back(folder("packed: no shape", "", "weight_shape", [=](FolderParts& p) {
        pack(p);
        p.tensors.erase(down + "_shape");
    }));
    list.push_back(
        folder("packed: shape lies", "model.safetensors", "weight_shape", [=](FolderParts& p) {
            pack(p);
            p.tensors[down + "_shape"].bytes = raw(std::int64_t{1}) + raw(std::int64_t{1});
        }));
    list.push_back(
        folder("packed: codes too few", "model.safetensors", "weight_packed", [=](FolderParts& p) {
            pack(p);
            p.tensors[down + "_packed"].shape[0] /= 2;
            p.tensors[down + "_packed"].bytes.resize(p.tensors[down + "_packed"].bytes.size() / 2);
        }));
    list.push_back(folder("packed: scales of integers", "model.safetensors", "weight_scale",
                          [=](FolderParts& p) {
                              pack(p);
                              p.tensors[down + "_scale"].dtype = "I32";
                          }));
    list.push_back(
        folder("packed: group does not divide", "model.safetensors", "divide", [](FolderParts& p) {
            pack(p);
            p.config["quantization_config"]["config_groups"]["group_0"]["weights"]["group_size"] =
                40;
        }));
    list.push_back(folder("packed: no zero points", "", "weight_zero_point", [](FolderParts& p) {
        pack(p);
        p.config["quantization_config"]["config_groups"]["group_0"]["weights"]["symmetric"] = false;
    }));
    list.push_back(
        folder("packed: reordered", "model.safetensors", "activation order", [=](FolderParts& p) {
            pack(p);
            p.tensors["model.layers.1.mlp.down_proj.weight_g_idx"] = {
                "I32", {96}, std::string(96 * 4, '\1')};
        }));
}

void addShards(std::vector<BadInput>& list) {
    const auto shards = [](const std::string& name, const std::string& file,
                           const std::string& cause,
                           const std::function<void(const fs::path&, json&)>& change) {
        return place("shards: " + name, file, cause, [=](const fs::path& path) {
            FolderParts parts = tinyParts("llama");
            writeFolder(path, parts);
            fs::rename(path / "model.safetensors", path / "model-00001-of-00001.safetensors");
            json index = {{"metadata", {{"total_size", 1}}}, {"weight_map", json::object()}};
            for (const auto& [tensor, value] : parts.tensors)
                index["weight_map"][tensor] = "model-00001-of-00001.safetensors";
            change(path, index);
            writeFile(path / "model.safetensors.index.json", index.dump());
            return path;
        });
    };
    const std::string norm = "model.norm.weight";
    list.push_back(shards("missing", "model-00002-of-00002.safetensors", "missing shard",
                          [=](const fs::path&, json& i) {
                              i["weight_map"][norm] = "model-00002-of-00002.safetensors";
                          }));
    list.push_back(
        shards("outside the folder", "index.json", "plain file name",
               [=](const fs::path&, json& i) { i["weight_map"][norm] = "../other.safetensors"; }));
    list.push_back(
        shards("absolute path", "index.json", "plain file name",
               [=](const fs::path&, json& i) { i["weight_map"][norm] = "/etc/passwd"; }));
    list.push_back(shards("name a number", "index.json", "file name",
                          [=](const fs::path&, json& i) { i["weight_map"][norm] = 5; }));
    list.push_back(shards("no map", "index.json", "weight_map",
                          [](const fs::path&, json& i) { i.erase("weight_map"); }));
    list.push_back(shards("tensor not in its shard", "model-00001", "missing tensor",
                          [](const fs::path&, json& i) {
                              i["weight_map"]["x"] = "model-00001-of-00001.safetensors";
                          }));
    list.push_back(shards("shard empty", "model-00001", "empty", [](const fs::path& p, json&) {
        writeFile(p / "model-00001-of-00001.safetensors", "");
    }));
}

void addPaths(std::vector<BadInput>& list) {
    const auto only = [](const std::string& file, const std::string& bytes) {
        return [=](const fs::path& path) {
            writeFile(path / file, bytes);
            return path / file;
        };
    };
    list.push_back(place("absent", "nothing-here", "no such file",
                         [](const fs::path& p) { return p / "nothing-here"; }));
    list.push_back(place("empty folder", "", "config.json", [](const fs::path& p) { return p; }));
    list.push_back(place("empty file", "empty.gguf", "empty", only("empty.gguf", "")));
    list.push_back(place("pickle", "model.pt", "pickle", only("model.pt", "PK\3\4")));
    list.push_back(
        place("pickle checkpoint", "weights.ckpt", "safetensors", only("weights.ckpt", "\x80\2")));
    list.push_back(place("onnx", "model.onnx", "ONNX", only("model.onnx", "\b\7")));
    list.push_back(place("text", "notes.txt", "unknown format", only("notes.txt", "hello")));
    list.push_back(place("safetensors alone", "weights.safetensors", "config.json",
                         only("weights.safetensors", "x")));
    list.push_back(
        place("folder of pickles", "pytorch_model.bin", "can run code", [](const fs::path& p) {
            writeFile(p / "config.json", tinyConfig("llama").dump());
            writeFile(p / "pytorch_model.bin", "PK");
            return p;
        }));
    list.push_back(place("folder of ONNX", "model.onnx", "ONNX", [](const fs::path& p) {
        writeFile(p / "config.json", tinyConfig("llama").dump());
        writeFile(p / "model.onnx", "x");
        return p;
    }));
    list.push_back(place("config only", "", "model.safetensors", [](const fs::path& p) {
        writeFile(p / "config.json", tinyConfig("llama").dump());
        return p;
    }));
    list.push_back(place("weights only", "", "config.json", [](const fs::path& p) {
        writeFile(p / "model.safetensors", "x");
        return p;
    }));
    list.push_back(place("config a folder", "config.json", "folder", [](const fs::path& p) {
        writeFolder(p, tinyParts("llama"));
        fs::remove(p / "config.json");
        fs::create_directory(p / "config.json");
        return p;
    }));
    for (const auto& [name, text, cause] :
         std::vector<std::tuple<std::string, std::string, std::string>>{
             {"empty", "", "empty"},
             {"cut", "{\"model_type\": \"lla", "JSON"},
             {"a list", "[]", "not a JSON object"},
             {"nested deeply", std::string(200000, '['), "deeper"},
             {"with a key twice", "{\"model_type\":\"llama\",\"model_type\":\"gpt2\"}",
              "duplicate"},
             {"with NUL", std::string("{\"a\0\":1}", 8), "JSON"}})
        list.push_back(
            place("config " + name, "config.json", cause, [text = text](const fs::path& p) {
                writeFolder(p, tinyParts("llama"));
                writeFile(p / "config.json", text);
                return p;
            }));
    list.push_back(place("link in a circle", "loop.gguf", "circle", [](const fs::path& p) {
        fs::create_symlink("loop.gguf", p / "loop.gguf");
        return p / "loop.gguf";
    }));
    list.push_back(
        place("weights linked in a circle", "model.safetensors", "circle", [](const fs::path& p) {
            writeFolder(p, tinyParts("llama"));
            fs::remove(p / "model.safetensors");
            fs::create_symlink("model.safetensors", p / "model.safetensors");
            return p;
        }));
    list.push_back(place("several GGUF files", "", "several", [](const fs::path& p) {
        writeFile(p / "a.gguf", "x");
        writeFile(p / "b.gguf", "x");
        return p;
    }));
    list.push_back(place("a pipe", "pipe.gguf", "regular file", [](const fs::path& p) {
        EXPECT_EQ(mkfifo((p / "pipe.gguf").c_str(), 0600), 0);
        return p / "pipe.gguf";
    }));
}

std::vector<BadInput> allBadInputs() {
    std::vector<BadInput> list;
    addGgufContainer(list);
    addGgufTensors(list);
    addGgufModel(list);
    addSafetensors(list);
    addConfigs(list);
    addFolders(list);
    addShards(list);
    addPaths(list);
    return list;
}

TEST(BadInputTest, TheFilesAreGoodBeforeTheyAreBroken) {
    TempFolder folder;
    writeFile(folder / "good.gguf", tinyGguf().build());
    EXPECT_NO_THROW(loadModel(folder / "good.gguf"));
    for (const char* family : {"llama", "qwen3", "gpt2", "gemma3"}) {
        writeFolder(folder / family, tinyParts(family));
        EXPECT_NO_THROW(loadModel(folder / family)) << family;
    }
    FolderParts packed = tinyParts("llama");
    pack(packed);
    writeFolder(folder / "packed", packed);
    EXPECT_NO_THROW(loadModel(folder / "packed"));
}

TEST(BadInputTest, EachIsRefusedWithFileAndCause) {
    const std::vector<BadInput> inputs = allBadInputs();
    EXPECT_GE(inputs.size(), 60u);
    for (const BadInput& input : inputs) {
        SCOPED_TRACE(input.name);
        TempFolder folder;
        const fs::path path = input.make(folder.path());
        const auto start = std::chrono::steady_clock::now();
        try {
            loadModel(path.string());
            ADD_FAILURE() << "was loaded";
        } catch (const EngineError& error) {
            const std::string message = error.what();
            EXPECT_EQ(error.kind(), ErrorKind::BadInput) << message;
            EXPECT_NE(
                message.find(input.file.empty() ? folder.path().filename().string() : input.file),
                std::string::npos)
                << message;
            EXPECT_NE(message.find(input.cause), std::string::npos) << message;
            EXPECT_EQ(message.find('\n'), std::string::npos) << message;
            EXPECT_LT(message.size(), 600u) << message;
        } catch (const std::exception& error) {
            ADD_FAILURE() << "another exception: " << error.what();
        }
        EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
    }
}

/// Loads and reads everything; only an EngineError may come out.
void tryToRead(const fs::path& path) {
    QuietControl quiet;
    try {
        const Model model = loadModel(path.string());
        describeModel(model);
        refuseNonFinite(model, quiet.control);
        for (const auto& [name, weight] : model.weights)
            weight.toFloat();
    } catch (const EngineError&) {
    }
}

/// A few bytes changed: set at random, to the extremes, or a bit flipped.
void mutate(std::string& bytes, std::size_t limit, std::mt19937& rng) {
    const int changes = 1 + static_cast<int>(rng() % 4);
    for (int i = 0; i < changes; ++i) {
        char& byte = bytes[rng() % std::min(limit, bytes.size())];
        switch (rng() % 4) {
            case 0:
                byte = static_cast<char>(rng());
                break;
            case 1:
                byte = '\xff';
                break;
            case 2:
                byte = '\0';
                break;
            default:
                byte = static_cast<char>(byte ^ (1 << (rng() % 8)));
                break;
        }
    }
    if (rng() % 8 == 0)
        bytes.resize(rng() % bytes.size());
}

TEST(BadInputTest, RandomChangesOfGguf) {
    const std::string good = tinyGguf().build();
    const std::size_t header =
        good.size() - 4 * (64 * kVocabulary + 64 * 3 + 64 * 64 * 2 + 64 * 32 * 2 + 64 * 96 * 3);
    TempFolder folder;
    std::mt19937 rng(20240117);
    for (int round = 0; round < 1000; ++round) {
        SCOPED_TRACE(round);
        std::string bytes = good;
        mutate(bytes, header, rng);
        writeFile(folder / "changed.gguf", bytes);
        ASSERT_NO_FATAL_FAILURE(tryToRead(folder / "changed.gguf"));
    }
}

TEST(BadInputTest, RandomChangesOfSafetensors) {
    FolderParts parts = tinyParts("llama");
    pack(parts);
    TempFolder folder;
    writeFolder(folder.path(), parts);
    const std::string good = safetensorsBytes(parts.tensors);
    std::uint64_t header = 0;
    std::memcpy(&header, good.data(), sizeof header);
    std::mt19937 rng(20240118);
    for (int round = 0; round < 1000; ++round) {
        SCOPED_TRACE(round);
        std::string bytes = good;
        mutate(bytes, header + 8, rng);
        writeFile(folder / "model.safetensors", bytes);
        ASSERT_NO_FATAL_FAILURE(tryToRead(folder.path()));
    }
}

TEST(BadInputTest, RandomChangesOfConfig) {
    FolderParts parts = tinyParts("gemma3");
    TempFolder folder;
    writeFolder(folder.path(), parts);
    const std::string good = parts.config.dump();
    std::mt19937 rng(20240119);
    for (int round = 0; round < 500; ++round) {
        SCOPED_TRACE(round);
        std::string bytes = good;
        mutate(bytes, bytes.size(), rng);
        writeFile(folder / "config.json", bytes);
        ASSERT_NO_FATAL_FAILURE(tryToRead(folder.path()));
    }
}

}  // namespace
}  // namespace fettle::test
