// What the exporters share: progress over bytes, rows as float32 with the file's norm convention,
// checks before writing.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/core/run_control.h"
#include "engine/io/exporter.h"
#include "engine/io/staged_output.h"
#include "engine/model/architectures/architecture.h"
#include "engine/model/model.h"

namespace fettle {

/// A file's tensor and the canonical weights it is made of: one, or q, k and v of a fused one.
struct FileTensorPlan {
    std::vector<TensorPlace> parts;
    std::vector<const Weight*> weights;

    const TensorPlace& place() const { return parts.front(); }
    std::int64_t rows() const;
    std::int64_t cols() const { return place().cols; }
    bool oneDimensional() const { return place().cols == 0; }
    std::string canonical() const { return parts.front().canonical; }
};

/// The largest finite float16.
inline constexpr float kLargestHalf = 65504;

enum class FileKind { HuggingFace, Gguf };
/// Every tensor that `model` has, in file order, parts of fused ones together. Throws BadInput for
/// a missing one.
std::vector<FileTensorPlan> planTensors(const Model& model, FileKind kind);

/// Counts bytes over the whole export; each step is a cancellation point.
class ExportProgress {
public:
    ExportProgress(RunControl& control, std::uint64_t total) : m_control(control), m_total(total) {}
    void add(const std::string& tensor, std::uint64_t bytes);

private:
    RunControl& m_control;
    std::uint64_t m_total;
    std::uint64_t m_done = 0;
};

/// Values of one weight as float32, row by row. A vector is one row. `add` and `factor` change
/// norms between conventions: value * factor + add.
struct ValueChange {
    float factor = 1;
    float add = 0;
    bool none() const { return factor == 1 && add == 0; }
};
void readRow(const Weight& weight, std::int64_t row, ValueChange change, std::vector<float>& out);

/// Collects notes about what a format cannot keep, once per kind, with the number of tensors.
class LossyNotes {
public:
    void add(const std::string& what) { ++m_counts[what]; }
    std::vector<std::string> list() const;

private:
    std::map<std::string, int> m_counts;
};

/// Refuses NaN, infinities and zero scales by the tensor's name.
void refuseUnwritable(const Model& model, RunControl& control);
/// Refuses, naming the tensor, a value that `limit` cannot hold.
void refuseBeyond(const std::vector<float>& row, float limit, const Model& model,
                  const std::string& tensor, const char* type);

/// True where compressed-tensors can hold the weight as it is.
bool isPackable(const Weight& weight);

/// The two writers; `out` is whole or absent afterwards.
ExportReport exportFolder(const Model& model, bool compressed, const std::filesystem::path& out,
                          RunControl& control);
/// What a GGUF file holds its matrices as. Around K-quants it is llama.cpp's mixture: the head, and
/// values and ffn.down of some layers, as Q6_K; rows that do not divide as older blocks.
struct GgufTarget {
    kernels::WeightFormat format = kernels::WeightFormat::F16;
    std::uint32_t fileType = 1;  ///< general.file_type
    const ImportanceMatrix* importance = nullptr;
};
ExportReport exportGguf(const Model& model, const GgufTarget& target,
                        const std::filesystem::path& out, RunControl& control);

}  // namespace fettle
