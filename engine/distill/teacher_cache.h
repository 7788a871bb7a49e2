// What a teacher predicts for training texts, kept on disk: a second epoch, another recipe or a
// sweep with the same teacher need not run it again.
//
// Kept of each position are the `top` likeliest tokens with their logits and the log-sum-exp of all
// others, so that the loss is the exact KL divergence of the two distributions coarsened to those
// tokens and "any other" (kernels/ops/loss.h): never more than that of the whole distributions, and
// less by the mass of the others times how differently the two spread it among themselves.
// Distillation from the likeliest tokens on disk: Tan et al. 2019; that the top alone, normalized,
// is a biased teacher: Anshumann et al. 2025.
//
// Predictions belong to a sequence of tokens: epochs, seeds, batches and contexts that cut the text
// alike share them. A folder per teacher, `top` and temperature; in it safetensors files of up to
// 32 MiB that appear whole or not at all, so that a killed run loses the last at most. Each is
// checked when it is opened: size, content hash, and that it is of this teacher.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/core/run_control.h"
#include "engine/data/batch_source.h"
#include "engine/train/train_engine.h"

namespace fettle {

/// What decides the numbers that are kept.
struct TeacherCacheKey {
    std::string teacher;  ///< modelHash
    std::int64_t vocabulary = 0;
    std::int64_t top = 64;  ///< more than the vocabulary: all of it
    float temperature = 1;
    /// Predictions of a device are kept apart: their last bits are others than the CPU's.
    bool onDevice = false;
};

class TeacherCache {
public:
    /// Opens what `root` holds for `key`. A file that is truncated, damaged or of another teacher
    /// is reported as a warning and removed; what it held is missing then. Folders of other
    /// teachers that nobody opened for a month are removed.
    TeacherCache(const std::filesystem::path& root, TeacherCacheKey key, RunControl& control);
    ~TeacherCache();
    TeacherCache(const TeacherCache&) = delete;
    TeacherCache& operator=(const TeacherCache&) = delete;

    /// Bytes on disk of one token.
    static double bytesPerToken(std::int64_t vocabulary, std::int64_t top);

    const std::filesystem::path& folder() const { return m_folder; }
    std::uint64_t bytes() const { return m_bytes; }   ///< on disk
    std::int64_t tokens() const { return m_tokens; }  ///< whose predictions are kept
    std::int64_t added() const { return m_added; }    ///< of these, by this object

    /// Keeps what `teacher()` predicts for the sequences of `batch` that are missing; asks for the
    /// teacher only then. What was added last is on disk after flush(). Throws EngineError(Io) for
    /// a full disk.
    void add(const TrainBatch& batch, const std::function<TrainEngine&()>& teacher,
             kernels::WorkerPool& pool, RunControl& control);
    void flush();

    /// Fills in batch.teacher and says true where all its sequences are known and on disk.
    bool attach(TrainBatch& batch) const;

    /// Names teacher and settings.
    std::string fingerprint() const;

private:
    struct Shard;
    struct Pending;
    using Hash = std::pair<std::uint64_t, std::uint64_t>;
    struct Place {
        std::size_t shard = 0;
        std::int64_t row = 0, rows = 0;
    };
    void open(const std::filesystem::path& file);
    void removeUnused(const std::filesystem::path& root, RunControl& control) const;
    void decode(const Place& place, TeacherRows& rows) const;

    TeacherCacheKey m_key;
    std::int64_t m_idBytes = 2;
    std::filesystem::path m_folder;
    std::vector<std::unique_ptr<Shard>> m_shards;
    std::map<Hash, Place> m_places;
    std::unique_ptr<Pending> m_pending;
    std::uint64_t m_bytes = 0;
    std::int64_t m_tokens = 0, m_added = 0;
};

/// The batches of another source, with the predictions that a cache knows.
class CachedTeacherSource : public BatchSource {
public:
    /// Both must outlive this.
    CachedTeacherSource(BatchSource& inner, const TeacherCache& cache);

    TrainBatch next() override;
    const std::vector<TrainBatch>& validation() const override { return m_validation; }
    std::int64_t batchTokens() const override { return m_inner.batchTokens(); }
    DataPosition position() const override { return m_inner.position(); }
    void seek(const DataPosition& position) override { m_inner.seek(position); }
    std::string fingerprint() const override;

private:
    BatchSource& m_inner;
    const TeacherCache& m_cache;
    std::vector<TrainBatch> m_validation;
};

/// Keeps what `teacher()` predicts for the validation batches of `data` and the first `batches`
/// others, an epoch at most; then `data` is at its start again. Reports into the current phase.
void fillTeacherCache(TeacherCache& cache, BatchSource& data, std::int64_t batches,
                      const std::function<TrainEngine&()>& teacher, kernels::WorkerPool& pool,
                      RunControl& control);

}  // namespace fettle
