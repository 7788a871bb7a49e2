// Where a training run gets its batches from: a text on disk, or text that a model writes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/data/train_batch.h"

namespace fettle {

/// The next thing to be read. Stored in checkpoints.
struct DataPosition {
    std::int64_t epoch = 0;
    std::int64_t group = 0;   ///< of documents that are shuffled together
    std::int64_t window = 0;  ///< of the group
    bool operator==(const DataPosition&) const = default;
};

class BatchSource {
public:
    virtual ~BatchSource() = default;

    /// The next batch; never empty, never at an end.
    virtual TrainBatch next() = 0;
    /// Batches that next() never gives, the same at every call; may be empty.
    virtual const std::vector<TrainBatch>& validation() const = 0;
    /// Most tokens of a batch.
    virtual std::int64_t batchTokens() const = 0;

    virtual DataPosition position() const = 0;
    /// What next() gives afterwards is what it would have given at `position`.
    virtual void seek(const DataPosition& position) = 0;
    /// Two sources of the same fingerprint give the same batches.
    virtual std::string fingerprint() const = 0;
};

}  // namespace fettle
