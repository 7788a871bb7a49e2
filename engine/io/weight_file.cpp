#include "engine/io/weight_file.h"

#include <algorithm>

#include "engine/core/error.h"
#include "engine/io/safetensors_reader.h"
#include "engine/io/safetensors_writer.h"
#include "engine/io/strict_json.h"

namespace fettle {

namespace {

constexpr const char* kState = "state";
constexpr std::size_t kPiece = std::size_t{1} << 20;

class PartsToWrite {
public:
    void add(const std::string& name, const Tensor& tensor) {
        if (tensor.dtype() == DType::Block)
            throw EngineError(ErrorKind::Internal, name + ": blocks have no form in a weight file");
        m_bytes += tensor.bytes();
        m_tensors.push_back({name, tensor.dtype(), tensor.shape(), [tensor](FileWriter& file) {
                                 for (std::size_t at = 0; at < tensor.bytes(); at += kPiece)
                                     file.write(tensor.data() + at,
                                                std::min(kPiece, tensor.bytes() - at));
                             }});
    }
    void addText(const std::string& text) {
        m_bytes += text.size();
        m_tensors.push_back(
            {kState, DType::U8, {static_cast<std::int64_t>(text.size())}, [text](FileWriter& file) {
                 file.write(text);
             }});
    }
    void write(const std::filesystem::path& path) {
        StagedOutput output(path, StagedOutput::Kind::File, m_bytes);
        writeSafetensors(output.path(), std::move(m_tensors),
                         [](const std::string&, std::uint64_t) {});
        output.commit();
    }

private:
    std::vector<TensorToWrite> m_tensors;
    std::uint64_t m_bytes = 0;
};

class Parts {
public:
    Parts(const StoredTensors& tensors, const std::string& file)
        : m_tensors(tensors), m_file(file) {}

    Tensor of(const std::string& name) const {
        const auto found = m_tensors.find(name);
        if (found == m_tensors.end())
            throwBadInput(m_file, "lacks the tensor " + inQuotes(name));
        return found->second.tensor;
    }

    Weight weight(const std::string& name, const nlohmann::json& entry) const {
        if (entry.is_null())
            return Weight(of(name));
        QuantizedTensor q;
        const auto scheme = findQuantScheme(entry.value("scheme", ""));
        if (!scheme || !scheme->hasQuantizer())
            throwBadInput(m_file, inQuotes(name) + " has no known scheme");
        q.scheme = *scheme;
        q.rows = entry.value("rows", std::int64_t{0});
        q.cols = entry.value("cols", std::int64_t{0});
        q.globalScale = entry.value("global_scale", 1.0F);
        q.inputGlobalScale = entry.value("input_global_scale", 1.0F);
        q.codes = of(name + "/codes");
        q.scales = of(name + "/scales");
        if (!scheme->symmetric)
            q.zeroPoints = of(name + "/zero_points");
        const std::int64_t group = scheme->groupSize > 0 ? scheme->groupSize : q.cols;
        if (q.rows <= 0 || q.cols <= 0 || q.cols % group != 0 ||
            q.scales.elements() != q.rows * (q.cols / group) ||
            (!scheme->symmetric &&
             (q.zeroPoints.dtype() != DType::I32 ||
              q.zeroPoints.elements() != (q.rows + 7) / 8 * (q.cols / group))) ||
            q.codes.bytes() !=
                static_cast<std::size_t>(q.rows) * kernels::rowBytes(scheme->format, q.cols))
            throwBadInput(m_file, inQuotes(name) + " has parts of the wrong size");
        if (m_tensors.contains(name + "/low_rank_in")) {
            q.lowRankIn = of(name + "/low_rank_in");
            q.lowRankOut = of(name + "/low_rank_out");
            if (!fitsLowRank(q))
                throwBadInput(m_file,
                              inQuotes(name) + " has a low-rank correction that does not fit");
        }
        return Weight(std::move(q));
    }

private:
    const StoredTensors& m_tensors;
    const std::string& m_file;
};

}  // namespace

void writeWeightFile(const std::filesystem::path& path, const WeightFile& content) {
    PartsToWrite parts;
    nlohmann::json schemes = nlohmann::json::object();
    for (const auto& [name, weight] : content.weights) {
        if (!weight.isQuantized()) {
            schemes[name] = nullptr;
            parts.add(name, weight.dense());
            continue;
        }
        const QuantizedTensor& q = weight.quantized();
        schemes[name] = {{"scheme", q.scheme.id},
                         {"rows", q.rows},
                         {"cols", q.cols},
                         {"global_scale", q.globalScale},
                         {"input_global_scale", q.inputGlobalScale}};
        parts.add(name + "/codes", q.codes);
        parts.add(name + "/scales", q.scales);
        if (!q.zeroPoints.empty())
            parts.add(name + "/zero_points", q.zeroPoints);
        if (weight.hasLowRank()) {
            parts.add(name + "/low_rank_in", q.lowRankIn);
            parts.add(name + "/low_rank_out", q.lowRankOut);
        }
    }
    parts.addText(nlohmann::json{{"weights", schemes}, {"state", content.state}}.dump());
    parts.write(path);
}

std::optional<WeightFile> readWeightFile(const std::filesystem::path& path) {
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored))
        return std::nullopt;
    const std::string file = path.string();
    const StoredTensors tensors = readSafetensors(MappedFile::open(path));
    const Parts parts(tensors, file);
    const Tensor text = parts.of(kState);
    const nlohmann::json header = parseJson({text.as<char>(), text.bytes()}, file + " " + kState);
    if (!header.is_object() || !header.contains("weights") || !header["weights"].is_object() ||
        !header.contains("state") || !header["state"].is_object())
        throwBadInput(file, "is no file of weights: its state says nothing");
    WeightFile content;
    content.state = header["state"];
    try {
        for (const auto& [name, entry] : header["weights"].items())
            content.weights.emplace(name, parts.weight(name, entry));
    } catch (const nlohmann::json::exception&) {
        throwBadInput(file, "is no file of weights: its state is damaged");
    }
    return content;
}

}  // namespace fettle
