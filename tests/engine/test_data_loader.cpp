// Training data: every window once an epoch, order by seed, positions found again, what is held
// back, and files that are no text.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "engine/core/random.h"
#include "engine/data/data_loader.h"
#include "tests/support/model_files.h"

namespace fettle {
namespace {

using Ids = std::vector<std::int32_t>;

class DataLoaderTest : public ::testing::Test {
protected:
    void SetUp() override {
        test::writeFile(folder / "tokenizer.json", test::tokenizerJson());
        test::writeFile(folder / "tokenizer_config.json", R"({"eos_token":"<|end|>"})");
        tokenizer = Tokenizer::fromFolder(folder.path());
    }
    std::string write(const std::string& name, const std::string& text) const {
        test::writeFile(folder / name, text);
        return (folder / name).string();
    }
    /// Paragraphs of random letters: hardly any two windows are the same.
    std::string paragraphs(int count) const {
        std::string text;
        Philox random(5);
        for (int i = 0; i < count; ++i) {
            for (int j = 0; j < 40 + i % 7; ++j)
                text += static_cast<char>('!' + random.below(60));
            text += "\n\n";
        }
        return text;
    }
    DataLoader loader(const std::string& path, std::uint64_t seed = 1, double held = 0) {
        DataOptions options;
        options.path = path;
        options.context = 16;
        options.batchTokens = 64;
        options.seed = seed;
        options.validationShare = held;
        options.validationTokens = 200;
        return {tokenizer, options, quiet.control};
    }
    static std::vector<Ids> windows(const TrainBatch& batch) {
        std::vector<Ids> all;
        for (const kernels::TokenSpan& s : batch.sequences)
            all.emplace_back(batch.ids.begin() + s.first, batch.ids.begin() + s.first + s.count);
        return all;
    }
    /// The windows of the first epoch.
    static std::vector<Ids> epoch(DataLoader& data) {
        std::vector<Ids> all;
        while (true) {
            const DataPosition before = data.position();
            for (Ids& window : windows(data.next())) {
                if (before.epoch > 0)
                    return all;
                all.push_back(std::move(window));
            }
            if (data.position().epoch > 0)
                break;
        }
        return all;
    }
    std::string errorOf(const std::string& path) {
        try {
            loader(path);
        } catch (const EngineError& error) {
            EXPECT_EQ(error.kind(), ErrorKind::BadInput);
            return error.what();
        }
        return "";
    }

    test::TempFolder folder;
    test::QuietControl quiet;
    std::shared_ptr<const Tokenizer> tokenizer;
};

TEST_F(DataLoaderTest, EveryTokenOnceAnEpochInAnOrderOfTheSeed) {
    const std::string path = write("a.txt", paragraphs(400));
    std::map<std::int32_t, int> whole, seen;
    DataLoader first = loader(path);
    for (const std::int32_t id : tokenizer->encode(paragraphs(400), false))
        ++whole[id];
    // A batch may reach into the next epoch: the windows that stand before the turn count.
    std::size_t windowsSeen = 0;
    std::vector<Ids> order;
    while (first.position().epoch == 0) {
        const DataPosition before = first.position();
        const TrainBatch batch = first.next();
        EXPECT_LE(batch.ids.size(), 64u);
        EXPECT_GT(batch.ids.size(), 0u);
        const std::vector<Ids> all = windows(batch);
        const auto left = first.position().epoch == 0
                              ? all.size()
                              : all.size() - static_cast<std::size_t>(first.position().window);
        for (std::size_t i = 0; i < left; ++i) {
            for (const std::int32_t id : all[i])
                ++seen[id];
            order.push_back(all[i]);
        }
        windowsSeen += left;
        EXPECT_NE(before, first.position());
    }
    // Windows of a single token are left out: one per document at most.
    int missing = 0;
    for (const auto& [id, count] : whole)
        missing += count - seen[id];
    EXPECT_GE(missing, 0);
    EXPECT_LE(missing, 64 + 1);
    for (const auto& [id, count] : seen)
        EXPECT_LE(count, whole[id]);

    DataLoader same = loader(path), other = loader(path, 2);
    std::vector<Ids> again;
    while (again.size() < order.size())
        for (Ids& window : windows(same.next()))
            again.push_back(std::move(window));
    again.resize(order.size());
    EXPECT_EQ(again, order);
    EXPECT_NE(windows(other.next()), windows(loader(path).next()));
    EXPECT_NE(other.fingerprint(), same.fingerprint());
    EXPECT_GT(windowsSeen, 400u);
}

TEST_F(DataLoaderTest, ATokenPredictsTheNextOneOfItsOwnWindow) {
    DataLoader data = loader(write("a.txt", paragraphs(50)));
    const TrainBatch batch = data.next();
    ASSERT_GT(batch.sequences.size(), 1u);
    for (const kernels::TokenSpan& s : batch.sequences) {
        for (std::int64_t t = s.first; t < s.first + s.count - 1; ++t)
            EXPECT_EQ(batch.targets[static_cast<std::size_t>(t)],
                      batch.ids[static_cast<std::size_t>(t + 1)]);
        EXPECT_EQ(batch.targets[static_cast<std::size_t>(s.first + s.count - 1)], -1);
    }
}

TEST_F(DataLoaderTest, GoesOnFromAnyPositionAcrossEpochs) {
    const std::string path = write("a.txt", paragraphs(30));
    DataLoader data = loader(path);
    std::vector<DataPosition> positions;
    std::vector<TrainBatch> batches;
    for (int i = 0; i < 80; ++i) {
        positions.push_back(data.position());
        batches.push_back(data.next());
    }
    ASSERT_GE(data.position().epoch, 2);
    for (const std::size_t i : {std::size_t{0}, std::size_t{7}, std::size_t{41}, std::size_t{79}}) {
        DataLoader later = loader(path);
        later.next();
        later.seek(positions[i]);
        EXPECT_EQ(later.position(), positions[i]);
        EXPECT_EQ(later.next().ids, batches[i].ids);
    }
    // Epochs differ in their order.
    DataLoader second = loader(path);
    second.seek({1, 0, 0});
    EXPECT_NE(second.next().ids, batches[0].ids);
}

TEST_F(DataLoaderTest, DocumentsOfJsonLinesStayApartAndEnd) {
    std::string lines;
    for (int i = 0; i < 40; ++i)
        lines += test::json{{"text", std::string(20, static_cast<char>('0' + i))}}.dump() + "\n\n";
    DataLoader data = loader(write("a.jsonl", lines));
    EXPECT_EQ(data.trainDocuments(), 40);
    int ends = 0;
    for (const Ids& window : epoch(data)) {
        std::set<std::int32_t> letters(window.begin(), window.end());
        ends += static_cast<int>(letters.erase(tokenizer->eos()));
        EXPECT_EQ(letters.size(), 1u) << "two documents in one window";
    }
    EXPECT_GT(ends, 30);
}

TEST_F(DataLoaderTest, WhatIsHeldBackIsNeverTrainedOnWhateverTheSeed) {
    const std::string path = write("a.txt", paragraphs(300));
    DataLoader data = loader(path, 1, 0.2), other = loader(path, 9, 0.2);
    ASSERT_FALSE(data.validation().empty());
    std::set<Ids> held;
    std::size_t tokens = 0;
    for (std::size_t i = 0; i < data.validation().size(); ++i) {
        EXPECT_EQ(data.validation()[i].ids, other.validation()[i].ids);
        tokens += data.validation()[i].ids.size();
        EXPECT_LE(data.validation()[i].ids.size(), 64u);
        for (Ids& window : windows(data.validation()[i]))
            held.insert(std::move(window));
    }
    EXPECT_LE(tokens, 200u);
    EXPECT_GT(tokens, 100u);
    for (const Ids& window : epoch(data))
        EXPECT_EQ(held.count(window), 0u);

    DataOptions options;
    options.path = path;
    options.validationPath = write("b.txt", paragraphs(20));
    options.context = 16;
    options.batchTokens = 64;
    const DataLoader named(tokenizer, options, quiet.control);
    EXPECT_FALSE(named.validation().empty());
    EXPECT_EQ(named.trainDocuments(), loader(path).trainDocuments());
}

TEST_F(DataLoaderTest, BrokenFilesAreNamedWithPlaceAndCause) {
    EXPECT_NE(errorOf((folder / "absent.txt").string()).find("absent.txt"), std::string::npos);
    EXPECT_NE(errorOf(folder.path().string()).find(folder.path().string()), std::string::npos);
    EXPECT_NE(errorOf(write("empty.txt", "")).find("empty.txt"), std::string::npos);
    EXPECT_NE(errorOf(write("blank.txt", " \n\n ")).find("holds no text"), std::string::npos);
    EXPECT_NE(errorOf(write("short.txt", "A")).find("too little text"), std::string::npos);
    EXPECT_NE(errorOf(write("zero.txt", std::string("AB\0CD", 5))).find("zero bytes"),
              std::string::npos);
    const std::string broken = errorOf(write("latin.txt", "ABCD\xE9 EFG"));
    EXPECT_NE(broken.find("byte 4"), std::string::npos) << broken;
    const std::string line = errorOf(write("a.jsonl", "{\"text\":\"AB\"}\n\n{\"txt\":\"AB\"}\n"));
    EXPECT_NE(line.find("a.jsonl line 3"), std::string::npos) << line;
    EXPECT_NE(errorOf(write("b.jsonl", "{\"text\":\"AB\"}\n{\"text\":\n")).find("b.jsonl line 2"),
              std::string::npos);
    EXPECT_NE(errorOf(write("c.ndjson", "{\"text\":\"\"}\n")).find("holds no text"),
              std::string::npos);

    DataLoader data = loader(write("changing.txt", paragraphs(200)));
    data.next();
    data.seek({5, 0, 0});
    write("changing.txt", paragraphs(100));
    try {
        data.next();
        ADD_FAILURE() << "a changed file is not noticed";
    } catch (const EngineError& error) {
        EXPECT_NE(std::string(error.what()).find("changing.txt"), std::string::npos);
    }
}

TEST_F(DataLoaderTest, OptionsThatContradictEachOther) {
    DataOptions options;
    options.path = write("a.txt", paragraphs(20));
    options.context = 128;
    options.batchTokens = 64;
    EXPECT_THROW(DataLoader(tokenizer, options, quiet.control), EngineError);
    options.batchTokens = 128;
    options.validationShare = 1;
    EXPECT_THROW(DataLoader(tokenizer, options, quiet.control), EngineError);
}

}  // namespace
}  // namespace fettle
