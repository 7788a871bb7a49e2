// Batches of a training text: documents are shuffled by seed and epoch, tokenized when their turn
// comes, cut into windows of at most `context` tokens and packed. A window never holds two
// documents; it begins with BOS where the tokenizer adds it, as in the measuring protocol, and a
// document of its own ends with EOS. Every window comes once an epoch.
//
// Documents that follow each other in the shuffled order and make up about a MiB are a group, whose
// windows are shuffled once more; so windows of one document do not come in a row, little is held,
// and a position is found again by reading one group.
#pragma once

#include <memory>
#include <optional>

#include "engine/data/batch_source.h"
#include "engine/data/document_file.h"
#include "engine/tokenizer/tokenizer.h"

namespace fettle {

struct DataOptions {
    std::string path;
    std::string validationPath;       ///< empty: a share of `path` is held back
    std::int64_t context = 256;       ///< most tokens of a window
    std::int64_t batchTokens = 2048;  ///< most tokens of a batch
    std::uint64_t seed = 1;
    double validationShare = 0.05;         ///< of the documents; 0 = none. Not more than is used
    std::int64_t validationTokens = 8192;  ///< most tokens to validate on
};

class DataLoader : public BatchSource {
public:
    /// Reads the file once (document_file.h). What is held back for validation depends on neither
    /// seed nor epoch. Throws EngineError(BadInput) for a text that cannot be read or is too short,
    /// (Usage) for options that contradict each other. `control` is polled as long as the loader
    /// lives.
    DataLoader(std::shared_ptr<const Tokenizer> tokenizer, DataOptions options,
               RunControl& control);

    TrainBatch next() override;
    const std::vector<TrainBatch>& validation() const override { return m_validation; }
    std::int64_t batchTokens() const override { return m_options.batchTokens; }
    DataPosition position() const override { return m_position; }
    void seek(const DataPosition& position) override;
    std::string fingerprint() const override;

    const DataOptions& options() const { return m_options; }
    std::int64_t trainDocuments() const {
        return static_cast<std::int64_t>(m_trainDocuments.size());
    }
    std::int64_t validationDocuments() const { return m_validationDocuments; }

private:
    using Window = std::vector<std::int32_t>;

    void holdBack();
    void fillValidation(const DocumentFile& file, const std::vector<std::int64_t>& documents);
    void appendWindows(const DocumentFile& file, std::int64_t document,
                       std::vector<Window>& windows) const;
    void orderEpoch(std::int64_t epoch);
    void loadGroup();
    /// Moves on until m_position names a window of the loaded group.
    const Window& current();

    std::shared_ptr<const Tokenizer> m_tokenizer;
    DataOptions m_options;
    RunControl& m_control;
    DocumentFile m_file;
    std::string m_validationHash;
    std::vector<std::int64_t> m_trainDocuments;
    std::int64_t m_validationDocuments = 0;
    std::vector<TrainBatch> m_validation;

    DataPosition m_position;
    std::optional<std::int64_t> m_orderedEpoch;
    std::vector<std::int64_t> m_order;      ///< documents of the epoch
    std::vector<std::size_t> m_groupBegin;  ///< in m_order, and its end
    std::optional<std::int64_t> m_loadedGroup;
    std::vector<Window> m_windows;
};

}  // namespace fettle
