// Loading: every family, sharded and quantized folders, GGUF types, old and new spellings of
// config.json, the demo names.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/core/error.h"
#include "engine/io/gguf_reader.h"
#include "engine/io/mapped_file.h"
#include "tests/support/fixtures.h"
#include "tests/support/model_files.h"

namespace fettle::test {
namespace {

ModelConfig parse(const json& config) {
    return modelConfigFromHuggingFace(config, "config.json");
}

std::string refusalOf(const std::function<void()>& work) {
    try {
        work();
    } catch (const EngineError& error) {
        return error.what();
    }
    return "";
}

TEST(ModelConfig, FixturesAreReadAsTheyAre) {
    FETTLE_NEED_FILE(fixture("llama-4m"));
    const ModelConfig llama = parse(readJson(fixture("llama-4m") / "config.json"));
    EXPECT_EQ(llama.architecture, "llama");
    EXPECT_EQ(llama.layerCount(), 4);
    EXPECT_EQ(llama.kvHeads, 4);
    EXPECT_FLOAT_EQ(llama.attentionScale, 1 / std::sqrt(32.0f));
    EXPECT_FALSE(llama.tiedEmbeddings);
    const ModelConfig gpt2 = parse(readJson(fixture("gpt2-random") / "config.json"));
    EXPECT_EQ(gpt2.feedForwardSize, 256);
    EXPECT_TRUE(gpt2.learnedPositions);
    EXPECT_TRUE(gpt2.tiedEmbeddings);
    const ModelConfig gemma = parse(readJson(fixture("gemma3-random") / "config.json"));
    EXPECT_EQ(gemma.layers[0].slidingWindow, 16);
    EXPECT_EQ(gemma.layers[3].slidingWindow, 0);
    EXPECT_EQ(gemma.layers[0].rope.theta, 10000);
    EXPECT_EQ(gemma.layers[3].rope.theta, 1000000);
    EXPECT_FLOAT_EQ(gemma.attentionScale, 1.0f / 16);
    EXPECT_EQ(gemma.embeddingScale, 8);
    EXPECT_EQ(gemma.normOffset, 1);
}

TEST(ModelConfig, OldAndNewRopeSpellingsAgree) {
    json old = tinyConfig("llama"), fresh = old;
    old["rope_theta"] = 500000.0;
    old["rope_scaling"] = {{"rope_type", "llama3"},
                           {"factor", 32.0},
                           {"low_freq_factor", 1.0},
                           {"high_freq_factor", 4.0},
                           {"original_max_position_embeddings", 8192}};
    fresh.erase("rope_theta");
    fresh["rope_parameters"] = old["rope_scaling"];
    fresh["rope_parameters"]["rope_theta"] = 500000.0;
    EXPECT_EQ(parse(old).layers[0].rope, parse(fresh).layers[0].rope);
    EXPECT_EQ(parse(old).layers[0].rope.llama3Factor, 32);

    json gemma = tinyConfig("gemma3");
    gemma.erase("layer_types");
    gemma["num_hidden_layers"] = 7;
    gemma["sliding_window_pattern"] = 3;
    gemma["rope_scaling"] = {{"type", "linear"}, {"factor", 8.0}};
    const ModelConfig config = parse(gemma);
    EXPECT_EQ(config.layers[2].slidingWindow, 0);
    EXPECT_EQ(config.layers[2].rope.linearFactor, 8);
    EXPECT_EQ(config.layers[2].rope.theta, 1e6f);
    EXPECT_EQ(config.layers[3].slidingWindow, 8);
    EXPECT_EQ(config.layers[3].rope.linearFactor, 1);
    EXPECT_EQ(config.layers[3].rope.theta, 1e4f);
}

TEST(ModelConfig, GemmaScaleIsRoundedToTheTypeOfTheWeights) {
    json config = tinyConfig("gemma3");
    config["hidden_size"] = 640;
    EXPECT_EQ(parse(config).embeddingScale, 25.25f);
    config["dtype"] = "float32";
    EXPECT_EQ(parse(config).embeddingScale, std::sqrt(640.0f));
}

TEST(ModelConfig, MultimodalGemmaIsItsTextPart) {
    json text = tinyConfig("gemma3");
    text.erase("architectures");
    const json whole = {{"model_type", "gemma3"},
                        {"architectures", {"Gemma3ForConditionalGeneration"}},
                        {"text_config", text},
                        {"dtype", "bfloat16"}};
    const ModelConfig config = parse(whole);
    EXPECT_EQ(config.architecture, "gemma3");
    EXPECT_EQ(modelConfigToHuggingFace(config)["model_type"], "gemma3_text");
}

TEST(ModelConfig, WritesWhatItRead) {
    for (const char* family : {"llama", "qwen3", "gpt2", "gemma3"}) {
        ModelConfig config = parse(tinyConfig(family));
        config.layers.pop_back();  // as a pruned model
        const ModelConfig again = parse(modelConfigToHuggingFace(config));
        EXPECT_EQ(again.layerCount(), config.layerCount()) << family;
        for (std::size_t i = 0; i < config.layers.size(); ++i) {
            EXPECT_EQ(again.layers[i].slidingWindow, config.layers[i].slidingWindow) << family;
            EXPECT_EQ(again.layers[i].rope, config.layers[i].rope) << family;
        }
        config.source = json();  // as one made from nothing
        const ModelConfig made = parse(modelConfigToHuggingFace(config));
        EXPECT_EQ(made.heads, config.heads) << family;
        EXPECT_EQ(made.feedForwardSize, config.feedForwardSize) << family;
        EXPECT_EQ(made.layers.back().rope, config.layers.back().rope) << family;
    }
}

TEST(ModelLoader, ReadsEveryFamilyFixture) {
    FETTLE_NEED_FILE(fixture("llama-4m"));
    const struct {
        const char* name;
        std::uint64_t parameters;
        std::size_t tensors;
    } kCases[] = {{"llama-4m", 4196608, 39},
                  {"qwen3-draft-500k", 631552, 24},
                  {"gpt2-random", 247552, 28},
                  {"gemma3-random", 271552, 54}};
    for (const auto& expected : kCases) {
        const Model model = loadModel(fixture(expected.name));
        const ModelReport report = describeModel(model);
        EXPECT_EQ(report.parameters, expected.parameters) << expected.name;
        EXPECT_EQ(report.tensors.size(), expected.tensors) << expected.name;
        EXPECT_TRUE(model.warnings.empty()) << expected.name;
        for (const std::string& name : linearWeightNames(model.config))
            EXPECT_TRUE(model.has(name)) << name;
        QuietControl quiet;
        EXPECT_NO_THROW(refuseNonFinite(model, quiet.control));
    }
}

TEST(ModelLoader, TurnsAndSplitsGpt2) {
    TempFolder folder;
    const FolderParts parts = tinyParts("gpt2");
    writeFolder(folder.path(), parts);
    const Model model = loadModel(folder.path());
    const FileTensor& fused = parts.tensors.at("transformer.h.1.attn.c_attn.weight");  // [64, 192]
    const auto at = [&](int in, int out) {
        std::uint16_t bits;
        std::memcpy(&bits, fused.bytes.data() + 2 * (in * 192 + out), sizeof bits);
        return kernels::bfloat16ToFloat(bits);
    };
    const std::vector<float> q = model.weight("layers.1.attn.q.weight").toFloat(),
                             v = model.weight("layers.1.attn.v.weight").toFloat();
    EXPECT_EQ(q[5 * 64 + 7], at(7, 5));
    EXPECT_EQ(v[63 * 64 + 1], at(1, 128 + 63));
    EXPECT_EQ(model.weight("layers.1.attn.k.bias").elements(), 64);
    EXPECT_EQ(model.fileNames.at("layers.1.attn.v.weight"), "transformer.h.1.attn.c_attn.weight");
}

TEST(ModelLoader, AcceptsOtherPrefixesAndOldBuffers) {
    TempFolder folder;
    FolderParts gpt2 = tinyParts("gpt2");
    FileTensors renamed;
    for (const auto& [name, tensor] : gpt2.tensors)
        renamed[name.substr(std::string("transformer.").size())] = tensor;
    renamed["h.0.attn.bias"] = {"U8", {4}, "\1\1\1\1"};
    gpt2.tensors = renamed;
    writeFolder(folder / "gpt2", gpt2);
    EXPECT_TRUE(loadModel(folder / "gpt2").warnings.empty());

    FolderParts gemma = tinyParts("gemma3");
    renamed.clear();
    for (const auto& [name, tensor] : gemma.tensors)
        renamed["language_model." + name] = tensor;
    renamed["vision_tower.patch.weight"] = {"BF16", {2}, "abcd"};
    gemma.tensors = renamed;
    writeFolder(folder / "gemma", gemma);
    const Model model = loadModel(folder / "gemma");
    ASSERT_EQ(model.warnings.size(), 1u);
    EXPECT_NE(model.warnings[0].find("vision_tower.patch.weight"), std::string::npos);
}

TEST(ModelLoader, JoinsShards) {
    TempFolder folder;
    const FolderParts parts = tinyParts("llama");
    writeFolder(folder / "whole", parts);
    writeFile(folder / "cut" / "config.json", parts.config.dump());
    writeFile(folder / "cut" / "tokenizer.json", parts.tokenizer);
    FileTensors shards[2];
    json map = json::object();
    int next = 0;
    for (const auto& [name, tensor] : parts.tensors) {
        map[name] = "part" + std::to_string(next) + ".safetensors";
        shards[next][name] = tensor;
        next = 1 - next;
    }
    writeFile(folder / "cut" / "part0.safetensors", safetensorsBytes(shards[0]));
    writeFile(folder / "cut" / "part1.safetensors", safetensorsBytes(shards[1]));
    writeFile(folder / "cut" / "model.safetensors.index.json", json{{"weight_map", map}}.dump());
    QuietControl quiet;
    EXPECT_EQ(modelHash(loadModel(folder / "cut"), quiet.control),
              modelHash(loadModel(folder / "whole"), quiet.control));
}

TEST(ModelLoader, CopiesWhatIsMisaligned) {
    TempFolder folder;
    const FolderParts parts = tinyParts("llama");
    writeFolder(folder.path(), parts);
    const std::string header = safetensorsHeader(parts.tensors).dump() +
                               (safetensorsHeader(parts.tensors).dump().size() % 2 ? "" : " ");
    std::string bytes = raw(static_cast<std::uint64_t>(header.size())) + header;  // an odd length
    for (const auto& [name, tensor] : parts.tensors)
        bytes += tensor.bytes;
    QuietControl quiet;
    const std::string before = modelHash(loadModel(folder.path()), quiet.control);
    writeFile(folder / "model.safetensors", bytes);
    EXPECT_EQ(modelHash(loadModel(folder.path()), quiet.control), before);
}

TEST(ModelLoader, WarnsOfPaddingAndOfSpecialTokensPastTheEnd) {
    TempFolder folder;
    FolderParts parts = tinyParts("llama");
    parts.tokenizer = tokenizerJson(kVocabulary - 4);
    writeFolder(folder / "padded", parts);
    ASSERT_EQ(loadModel(folder / "padded").warnings.size(), 1u);
    json tokenizer = json::parse(tokenizerJson());
    json extra = tokenizer["added_tokens"][0];
    extra["id"] = kVocabulary;
    extra["content"] = "<image>";
    tokenizer["added_tokens"].push_back(extra);
    parts.tokenizer = tokenizer.dump();
    writeFolder(folder / "special", parts);
    ASSERT_EQ(loadModel(folder / "special").warnings.size(), 1u);
}

TEST(ModelLoader, RefusesNonFiniteWeightsByName) {
    TempFolder folder;
    FolderParts parts = tinyParts("llama");
    const std::string name = "model.layers.1.mlp.up_proj.weight";
    parts.tensors[name].bytes.replace(2 * 100, 2, raw(std::uint16_t{0x7FC0}));
    writeFolder(folder.path(), parts);
    const Model model = loadModel(folder.path());  // loading does not read the weights
    QuietControl quiet;
    const std::string message = refusalOf([&] { refuseNonFinite(model, quiet.control); });
    EXPECT_NE(message.find(name), std::string::npos) << message;
    EXPECT_NE(message.find("element 100"), std::string::npos) << message;
    EXPECT_NE(refusalOf([&] { tensorHistogram(model, name, 8, quiet.control); }).find("NaN"),
              std::string::npos);
}

TEST(ModelLoader, NoticesAFileThatShrinksWhileInUse) {
    TempFolder folder;
    writeFile(folder / "model.gguf", tinyGguf().build());
    const Model model = loadModel(folder / "model.gguf");
    EXPECT_NO_THROW(refuseChangedFiles(model));
    fs::resize_file(folder / "model.gguf", 4096);
    // Reading the lost pages would raise SIGBUS; they read as zeros instead.
    EXPECT_EQ(model.weight("final_norm.weight").toFloat()[63], 0);
    EXPECT_NE(refusalOf([&] { refuseChangedFiles(model); }).find("changed on disk"),
              std::string::npos);
}

TEST(ModelLoader, HistogramCountsEveryValueOnce) {
    TempFolder folder;
    writeFolder(folder.path(), tinyParts("gpt2"));
    const Model model = loadModel(folder.path());
    QuietControl quiet;
    const TensorHistogram fused =
        tensorHistogram(model, "transformer.h.0.attn.c_attn.weight", 16, quiet.control);
    std::uint64_t sum = 0;
    for (const std::uint64_t bin : fused.bins)
        sum += bin;
    EXPECT_EQ(sum, 64u * 192);
    EXPECT_EQ(fused.count, sum);
    EXPECT_NEAR(fused.mean, 0, 0.01);
    EXPECT_NEAR(fused.standardDeviation, 0.1, 0.01);
    EXPECT_EQ(tensorHistogram(model, "layers.0.attn.q.weight", 16, quiet.control).count, 64u * 64);
    EXPECT_NE(
        refusalOf([&] { tensorHistogram(model, "nothing", 16, quiet.control); }).find("no tensor"),
        std::string::npos);
}

TEST(ModelLoader, HashFollowsContentNotPlace) {
    TempFolder folder;
    FolderParts parts = tinyParts("qwen3");
    writeFolder(folder / "a", parts);
    writeFolder(folder / "b", parts);
    QuietControl quiet;
    const std::string a = modelHash(loadModel(folder / "a"), quiet.control);
    EXPECT_EQ(a.size(), 32u);
    EXPECT_EQ(modelHash(loadModel(folder / "b"), quiet.control), a);
    parts.tensors["model.norm.weight"].bytes[0] ^= 1;
    writeFolder(folder / "b", parts);
    EXPECT_NE(modelHash(loadModel(folder / "b"), quiet.control), a);
}

TEST(ModelLoader, CanBeCancelled) {
    TempFolder folder;
    writeFolder(folder.path(), tinyParts("llama"));
    std::stop_source stop;
    stop.request_stop();
    NullProgress sink;
    RunControl control(stop.get_token(), nullptr, sink);
    EXPECT_THROW(loadModel(folder.path(), &control), Cancelled);
}

TEST(ModelLoader, TakesAFileOfTheFolderOrAFolderWithOneGguf) {
    TempFolder folder;
    writeFolder(folder / "hf", tinyParts("llama"));
    EXPECT_EQ(loadModel(folder / "hf" / "config.json").name, "hf");
    EXPECT_EQ(loadModel((folder / "hf").string() + "/").name, "hf");
    writeFile(folder / "one" / "m.gguf", tinyGguf().build());
    EXPECT_EQ(loadModel(folder / "one").name, "tiny");
}

TEST(GgufReader, DequantizesAsTheGgufPackageDoes) {
    const fs::path goldens = fs::path(FETTLE_TEST_DATA) / "goldens";
    const GgufFile file = GgufFile::read(MappedFile::open(goldens / "dequant.gguf"));
    const std::string values = readFile(goldens / "dequant.f32.bin");
    constexpr std::int64_t kRows = 6, kCols = 256;
    const char* kOrder[] = {"f32",  "f16",  "bf16", "q8_0", "q4_0", "q4_1",
                            "q5_0", "q5_1", "q4_k", "q5_k", "q6_k"};
    std::size_t at = 0;
    for (const char* name : kOrder) {
        const StoredTensor& stored = file.tensors().at(name);
        ASSERT_EQ(stored.tensor.shape(), (Shape{kRows, kCols})) << name;
        ASSERT_TRUE(stored.format) << name;
        kernels::WeightView view;
        view.format = *stored.format;
        view.rows = kRows;
        view.cols = kCols;
        view.data = stored.tensor.data();
        std::vector<float> row(kCols);
        for (std::int64_t r = 0; r < kRows; ++r) {
            kernels::dequantizeRow(view, r, row.data());
            EXPECT_EQ(std::memcmp(row.data(), values.data() + at, sizeof(float) * kCols), 0)
                << name << " row " << r;
            at += sizeof(float) * kCols;
        }
    }
}

TEST(GgufReader, PutsPermutedRowsBack) {
    TempFolder folder;
    GgufBytes bytes = tinyGguf();
    writeFile(folder / "m.gguf", bytes.build());
    const Model model = loadModel(folder / "m.gguf");
    const std::vector<float> q = model.weight("layers.0.attn.q.weight").toFloat();
    const GgufBytes::Info& stored = bytes.tensor("blk.0.attn_q.weight");
    const auto fileRow = [&](int row) {
        float value;
        std::memcpy(&value, stored.bytes.data() + 4 * 64 * row, sizeof value);
        return value;
    };
    // Heads of 16 rows: the file interleaves the halves, row 2i + j is row 8j + i.
    for (int head = 0; head < 4; ++head)
        for (int i = 0; i < 8; ++i)
            for (int j = 0; j < 2; ++j)
                EXPECT_EQ(q[static_cast<std::size_t>(64 * (16 * head + 8 * j + i))],
                          fileRow(16 * head + 2 * i + j));
    EXPECT_TRUE(model.config.tiedEmbeddings);
    EXPECT_EQ(model.config.headDim, 16);
}

}  // namespace
}  // namespace fettle::test
