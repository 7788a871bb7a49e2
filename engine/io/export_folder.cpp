// Writes Hugging Face folders: config.json, model.safetensors, tokenizer and side files. Plain, or
// with compressed-tensors for the weights that are quantized in a way it knows (layout:
// compressed_tensors.h).
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "engine/core/error.h"
#include "engine/io/compressed_scheme.h"
#include "engine/io/export_parts.h"
#include "engine/io/gguf_quantize.h"
#include "engine/io/low_rank_adapter.h"
#include "engine/io/mapped_file.h"
#include "engine/io/safetensors_writer.h"
#include "engine/model/draft_heads.h"
#include "engine/tokenizer/tokenizer_json_writer.h"

namespace fettle {
namespace {

namespace fs = std::filesystem;
using kernels::WeightFormat;
using nlohmann::json;

constexpr float kLargestBfloat16 = 3.3895314e38f;
constexpr std::size_t kPiece = std::size_t{1} << 20;
constexpr const char* kWeightSuffix = ".weight";

std::string moduleOf(const std::string& name) {
    return name.substr(0, name.size() - std::strlen(kWeightSuffix));
}

WeightFormat formatOf(DType dtype) {
    return *plainFormat(dtype);
}

float largestValue(DType dtype) {
    return dtype == DType::F16    ? kLargestHalf
           : dtype == DType::BF16 ? kLargestBfloat16
                                  : std::numeric_limits<float>::max();
}

class FolderExport {
public:
    FolderExport(const Model& model, bool compressed, RunControl& control)
        : m_model(model), m_compressed(compressed), m_control(control) {}

    ExportReport write(const fs::path& out) {
        for (FileTensorPlan& plan : planTensors(m_model, FileKind::HuggingFace))
            addPlan(std::move(plan));
        if (m_compressed && m_groups.empty())
            throwBadInput(m_model.path,
                          "holds no weights that compressed-tensors could keep; quantize it first "
                          "(ptq), "
                          "or export as \"safetensors\"");
        std::uint64_t total = 0;
        for (const TensorToWrite& tensor : m_tensors)
            total += tensor.bytes();
        StagedOutput staged(out, StagedOutput::Kind::Folder, total);
        ExportProgress progress(m_control, total);
        m_progress = &progress;
        writeSafetensors(staged.path() / "model.safetensors", std::move(m_tensors),
                         [](const std::string&, std::uint64_t) {});
        writeText(staged.path() / "config.json",
                  config().dump(2, ' ', false, json::error_handler_t::replace) + "\n");
        writeSideFiles(staged.path());
        if (m_adapter)
            writeLowRankAdapter(m_model, staged.path() / kAdapterFolder, m_control);
        writeDraft(staged.path());
        refuseChangedFiles(m_model);
        ExportReport report;
        report.path = out.string();
        for (const auto& entry : fs::recursive_directory_iterator(staged.path()))
            report.bytes += entry.is_regular_file() ? entry.file_size() : 0;
        staged.commit();
        report.lossy = m_notes.list();
        if (m_adapter)
            report.lossy.push_back(
                "the low-rank correction within the weights: it stands in adapter/ as a LoRA "
                "adapter "
                "(PEFT), which runtimes have to be told to load");
        return report;
    }

private:
    struct Group {
        QuantScheme scheme;
        std::vector<std::string> modules;
    };

    // -- planning
    // ---------------------------------------------------------------------------------------------------

    /// The type of plain tensors that were quantized: the model's own; exact where that is float32.
    DType floatType() const {
        const json& source = m_model.config.source;
        for (const char* key : {"dtype", "torch_dtype"}) {
            const std::string type =
                source.is_object() && source.contains(key) && source[key].is_string()
                    ? source[key].get<std::string>()
                    : "";
            if (type == "float32" || type == "float16" || type == "bfloat16")
                return type == "float32"   ? DType::F32
                       : type == "float16" ? DType::F16
                                           : DType::BF16;
        }
        return DType::BF16;
    }

    /// GGUF's blocks have float16 scales: float16 keeps them closer than bfloat16, where no product
    /// leaves its range.
    DType dequantizedType(const Weight& weight) const {
        if (weight.quantized().codes.dtype() != DType::Block || floatType() == DType::F32)
            return floatType();
        const kernels::WeightView view = weight.view();
        std::vector<float> row;
        for (std::int64_t r = 0; r < view.rows; ++r) {
            if (r % 1024 == 0)
                m_control.check();
            readRow(weight, r, {}, row);
            float largest = 0;
            for (const float value : row)
                largest = std::max(largest, std::fabs(value));
            if (largest > kLargestHalf)
                return DType::BF16;
        }
        return DType::F16;
    }

    bool packs(const FileTensorPlan& plan) const {
        if (!m_compressed || !plan.place().is(kLinear))
            return false;
        // One scale for several rows is each part's own.
        if (plan.weights.size() > 1 && plan.weights.front()->isQuantized() &&
            plan.weights.front()->quantized().scheme.rowsPerScale() > 1)
            return false;
        for (const Weight* weight : plan.weights)
            if (!isPackable(*weight) ||
                !(weight->quantized().scheme == plan.weights.front()->quantized().scheme) ||
                weight->quantized().globalScale != plan.weights.front()->quantized().globalScale ||
                weight->quantized().inputGlobalScale !=
                    plan.weights.front()->quantized().inputGlobalScale ||
                weight->quantized().scales.dtype() !=
                    plan.weights.front()->quantized().scales.dtype())
                return false;
        return true;
    }

    void addPlan(FileTensorPlan plan) {
        const auto shared = std::make_shared<const FileTensorPlan>(std::move(plan));
        const std::string& name = shared->place().huggingFace;
        if (packs(*shared)) {
            addPacked(shared, moduleOf(name));
            return;
        }
        if (shared->place().is(kLinear))
            m_ignored.push_back(moduleOf(name));
        addPlain(shared);
    }

    void addPlain(const std::shared_ptr<const FileTensorPlan>& plan) {
        const Weight& first = *plan->weights.front();
        TensorToWrite tensor;
        tensor.name = plan->place().huggingFace;
        tensor.dtype = first.isQuantized() ? dequantizedType(first) : first.dense().dtype();
        for (const Weight* weight : plan->weights)
            if (weight->isQuantized() != first.isQuantized() ||
                (!first.isQuantized() && weight->dense().dtype() != tensor.dtype))
                tensor.dtype =
                    DType::F32;  // parts of different kinds: the type that holds all of them
        const ValueChange change = changeOf(plan->place());
        if (!change.none())
            tensor.dtype = normType(*plan, change, tensor.dtype);
        if (first.isQuantized() && tensor.dtype != DType::F32)
            m_notes.add(first.typeName() +
                        (first.hasLowRank() ? " with its low-rank correction" : "") +
                        " is dequantized and written as " + toString(tensor.dtype));
        const bool transposed = plan->place().is(kTransposed);
        if (plan->oneDimensional())
            tensor.shape = {plan->rows()};
        else
            tensor.shape =
                transposed ? Shape{plan->cols(), plan->rows()} : Shape{plan->rows(), plan->cols()};
        tensor.write = [this, plan, change, dtype = tensor.dtype, transposed](FileWriter& file) {
            if (transposed && !plan->oneDimensional())
                writeTransposed(*plan, dtype, file);
            else
                writePlain(*plan, change, dtype, file);
        };
        m_tensors.push_back(std::move(tensor));
    }

    /// Gemma's norms are w in these files, also where the model came from GGUF and holds 1 + w.
    ValueChange changeOf(const TensorPlace& place) const {
        ValueChange change;
        if (place.is(kNorm) && m_model.config.architecture == "gemma3")
            change.add = m_model.config.normOffset - 1;
        return change;
    }

    /// The narrow type where it holds every value exactly, as it does for norms that were bfloat16
    /// once.
    static DType normType(const FileTensorPlan& plan, ValueChange change, DType dtype) {
        std::vector<float> row;
        readRow(*plan.weights.front(), 0, change, row);
        const bool narrow = std::all_of(row.begin(), row.end(), [](float v) {
            return kernels::bfloat16ToFloat(kernels::floatToBfloat16(v)) == v;
        });
        return narrow ? DType::BF16 : dtype == DType::F32 ? dtype : DType::F32;
    }

    // -- plain tensors
    // ----------------------------------------------------------------------------------------------

    void writePlain(const FileTensorPlan& plan, ValueChange change, DType dtype, FileWriter& file) {
        const std::string& name = plan.place().huggingFace;
        for (const Weight* weight : plan.weights) {
            if (!weight->isQuantized() && weight->dense().dtype() == dtype && change.none())
                writeBytes(weight->dense(), name, file);
            else
                writeConverted(*weight, change, dtype, name, file);
            weight->dropPages();
        }
    }

    void writeBytes(const Tensor& tensor, const std::string& name, FileWriter& file) {
        for (std::size_t begin = 0; begin < tensor.bytes(); begin += kPiece) {
            const std::size_t bytes = std::min(kPiece, tensor.bytes() - begin);
            file.write(tensor.data() + begin, bytes);
            m_progress->add(name, bytes);
        }
    }

    void writeConverted(const Weight& weight, ValueChange change, DType dtype,
                        const std::string& name, FileWriter& file) {
        const kernels::WeightView view = weight.view();
        std::vector<float> row;
        std::vector<std::byte> bytes(static_cast<std::size_t>(view.cols) * dtypeBytes(dtype));
        for (std::int64_t r = 0; r < view.rows; ++r) {
            readRow(weight, r, change, row);
            refuseBeyond(row, largestValue(dtype), m_model, name, toString(dtype).c_str());
            encodeRow(formatOf(dtype), row.data(), view.cols, bytes.data());
            file.write(bytes.data(), bytes.size());
            m_progress->add(name, bytes.size());
        }
    }

    /// [in, out] from [out, in] parts: a band of inputs at a time, so that only the band is held.
    void writeTransposed(const FileTensorPlan& plan, DType dtype, FileWriter& file) {
        constexpr std::int64_t kBand = 64;
        const std::int64_t rows = plan.rows(), cols = plan.cols();
        std::vector<float> band, row;
        std::vector<std::byte> bytes(static_cast<std::size_t>(rows) * dtypeBytes(dtype));
        for (std::int64_t c0 = 0; c0 < cols; c0 += kBand) {
            const std::int64_t width = std::min(kBand, cols - c0);
            band.resize(static_cast<std::size_t>(width * rows));
            std::int64_t out = 0;
            for (const Weight* weight : plan.weights)
                for (std::int64_t r = 0; r < weight->view().rows; ++r, ++out) {
                    readRow(*weight, r, {}, row);
                    for (std::int64_t c = 0; c < width; ++c)
                        band[static_cast<std::size_t>(c * rows + out)] =
                            row[static_cast<std::size_t>(c0 + c)];
                }
            for (std::int64_t c = 0; c < width; ++c) {
                encodeRow(formatOf(dtype), band.data() + c * rows, rows, bytes.data());
                file.write(bytes.data(), bytes.size());
                m_progress->add(plan.place().huggingFace, bytes.size());
            }
        }
    }

    // -- packed tensors
    // ---------------------------------------------------------------------------------------------

    void addPacked(const std::shared_ptr<const FileTensorPlan>& plan, const std::string& module) {
        const QuantizedTensor& first = plan->weights.front()->quantized();
        if (plan->place().is(kTransposed))
            m_notes.add(
                "layers of GPT-2 are stored as [out, in] with codes, which other runtimes do not "
                "expect");
        if (first.scheme.bits < 4)
            m_notes.add(
                "codes of 2 and 3 bits are packed without gaps, as compressed-tensors reads "
                "them since 2026; vLLM and SGLang are not known to run them");
        else if (first.scheme.format == WeightFormat::Int4Group &&
                 first.scheme.quantizesActivations())
            m_notes.add(
                "int4 with integer activations is pack-quantized, which transformers reads; "
                "vLLM's kernels for it want a byte per code");
        const std::int64_t rows = plan->rows(), cols = plan->cols(),
                           groups = first.scales.elements() / first.rows;
        m_adapter = m_adapter || !first.lowRankIn.empty();
        groupOf(first.scheme).modules.push_back(module);
        if (first.scheme.format == WeightFormat::MxFp6 ||
            first.scheme.format == WeightFormat::Nf4Group)
            m_notes.add(first.scheme.id +
                        " is laid out in the style of compressed-tensors, which has no such "
                        "format: only Fettle reads it");
        const bool eight = first.scheme.format == WeightFormat::Int8Channel,
                   packed = (kernels::hasGroups(first.scheme.format) &&
                             first.scheme.format != WeightFormat::MxFp8 &&
                             first.scheme.format != WeightFormat::Fp8Group) ||
                            compressedFormatName(first.scheme) == std::string("pack-quantized");
        const bool words = packed && first.codes.dtype() != DType::U8;
        TensorToWrite codes;
        codes.name = module + (packed ? ".weight_packed" : ".weight");
        codes.dtype = words ? DType::I32 : first.codes.dtype();
        codes.shape = {rows, words    ? (cols * first.scheme.bits + 31) / 32
                             : packed ? cols * first.scheme.bits / 8
                                      : cols};
        codes.write = [this, plan, packed, eight](FileWriter& file) {
            writeCodes(*plan, packed && eight, file);
        };
        m_tensors.push_back(std::move(codes));
        TensorToWrite scales;
        scales.name = module + ".weight_scale";
        scales.dtype = first.scales.dtype();
        const std::int64_t together = std::min(rows, first.scheme.rowsPerScale());
        const std::int64_t blocks = (rows - 1) / together + 1;
        scales.shape =
            first.scheme.granularity == Granularity::Tensor ? Shape{1} : Shape{blocks, groups};
        scales.write = [this, plan, together](FileWriter& file) {
            for (const Weight* weight : plan->weights)
                writeScales(weight->quantized(), together, plan->place().huggingFace, file);
        };
        m_tensors.push_back(std::move(scales));
        if (words)
            addShape(module, rows, cols);
        if (first.scheme.format == WeightFormat::NvFp4)
            addNumber(module + ".weight_global_scale", first.globalScale);
        if (first.scheme.activations == ActivationFormat::NvFp4)
            addNumber(module + ".input_global_scale", first.inputGlobalScale);
        if (first.scheme.activations == ActivationFormat::Int8Tensor)
            addNumber(module + ".input_scale", first.inputGlobalScale);
        if (!first.zeroPoints.empty())
            addZeroPoints(plan, module, rows, groups);
    }

    /// Of every `together` rows, which have the same, the first one's.
    void writeScales(const QuantizedTensor& quantized, std::int64_t together,
                     const std::string& name, FileWriter& file) {
        if (together == 1)
            return writeBytes(quantized.scales, name, file);
        const std::size_t line =
            quantized.scales.bytes() / static_cast<std::size_t>(quantized.rows);
        for (std::int64_t r = 0; r < quantized.rows; r += together) {
            file.write(quantized.scales.data() + static_cast<std::size_t>(r) * line, line);
            m_progress->add(name, line);
        }
    }

    void writeCodes(const FileTensorPlan& plan, bool offsetBytes, FileWriter& file) {
        const std::string& name = plan.place().huggingFace;
        for (const Weight* weight : plan.weights) {
            if (offsetBytes)
                writeOffsetCodes(weight->quantized(), name, file);
            else
                writeBytes(weight->quantized().codes, name, file);
            weight->dropPages();
        }
    }

    /// int8 in words: bytes q + 128, each row filled up to whole words.
    void writeOffsetCodes(const QuantizedTensor& quantized, const std::string& name,
                          FileWriter& file) {
        std::vector<std::uint8_t> row(static_cast<std::size_t>((quantized.cols + 3) / 4 * 4), 0);
        for (std::int64_t r = 0; r < quantized.rows; ++r) {
            const auto* codes = quantized.codes.as<std::uint8_t>() + r * quantized.cols;
            for (std::int64_t c = 0; c < quantized.cols; ++c)
                row[static_cast<std::size_t>(c)] = codes[c] ^ 0x80;
            file.write(row.data(), row.size());
            m_progress->add(name, row.size());
        }
    }

    void addNumber(const std::string& name, float value) {
        TensorToWrite number;
        number.name = name;
        number.dtype = DType::F32;
        number.shape = {1};
        number.write = [value](FileWriter& file) { file.write(&value, sizeof value); };
        m_tensors.push_back(std::move(number));
    }

    void addShape(const std::string& module, std::int64_t rows, std::int64_t cols) {
        TensorToWrite shape;
        shape.name = module + ".weight_shape";
        shape.dtype = DType::I64;
        shape.shape = {2};
        shape.write = [rows, cols](FileWriter& file) {
            const std::int64_t values[] = {rows, cols};
            file.write(values, sizeof values);
        };
        m_tensors.push_back(std::move(shape));
    }

    void addZeroPoints(const std::shared_ptr<const FileTensorPlan>& plan, const std::string& module,
                       std::int64_t rows, std::int64_t groups) {
        TensorToWrite zeros;
        zeros.name = module + ".weight_zero_point";
        zeros.dtype = DType::I32;
        zeros.shape = {(rows + 7) / 8, groups};
        zeros.write = [plan, rows, groups](FileWriter& file) {
            std::vector<std::uint32_t> words(static_cast<std::size_t>((rows + 7) / 8 * groups), 0);
            std::int64_t out = 0;
            for (const Weight* weight : plan->weights) {
                const auto* from = weight->quantized().zeroPoints.as<std::uint32_t>();
                for (std::int64_t r = 0; r < weight->quantized().rows; ++r, ++out)
                    for (std::int64_t g = 0; g < groups; ++g)
                        words[static_cast<std::size_t>(out / 8 * groups + g)] |=
                            (from[r / 8 * groups + g] >> (4 * (r % 8)) & 15u) << (4 * (out % 8));
            }
            file.write(words.data(), words.size() * sizeof words[0]);
        };
        m_tensors.push_back(std::move(zeros));
    }

    Group& groupOf(const QuantScheme& scheme) {
        for (Group& group : m_groups)
            if (group.scheme == scheme)
                return group;
        m_groups.push_back({scheme, {}});
        return m_groups.back();
    }

    // -- description
    // ------------------------------------------------------------------------------------------------

    json config() const {
        json out = modelConfigToHuggingFace(m_model.config);
        out.erase("quantization_config");
        out.erase("compression_config");
        if (m_adapter)
            out[kAdapterKey] = kAdapterFolder;
        if (!out.contains("dtype") && !out.contains("torch_dtype"))
            out["dtype"] = out["torch_dtype"] = "bfloat16";
        if (!m_groups.empty())
            out["quantization_config"] = quantization();
        return out;
    }

    json quantization() const {
        std::vector<std::string> ignore = m_ignored;
        // A tied head is a linear module to other readers, without a tensor of its own.
        if (m_model.config.tiedEmbeddings)
            ignore.push_back("lm_head");
        json groups = json::object();
        const bool mixed = m_groups.size() > 1;
        for (std::size_t i = 0; i < m_groups.size(); ++i) {
            const Group& group = m_groups[i];
            json entry = {{"targets", mixed ? json(group.modules) : json::array({"Linear"})},
                          {"weights", weightArguments(group.scheme)},
                          {"input_activations", activationArguments(group.scheme)},
                          {"output_activations", nullptr}};
            if (mixed)
                entry["format"] = compressedFormatName(group.scheme);
            groups["group_" + std::to_string(i)] = entry;
        }
        return {
            {"quant_method", "compressed-tensors"},
            {"format", mixed ? "mixed-precision" : compressedFormatName(m_groups.front().scheme)},
            {"quantization_status", "compressed"},
            {"config_groups", groups},
            {"ignore", ignore},
            {"kv_cache_scheme", nullptr}};
    }

    static void writeText(const fs::path& path, const std::string& text) {
        FileWriter file(path);
        file.write(text);
        file.finish();
    }

    void writeSideFiles(const fs::path& folder) const {
        bool tokenizer = false;
        for (const fs::path& side : m_model.sideFiles) {
            copyFile(side, folder / side.filename());
            tokenizer = tokenizer || side.filename() == "tokenizer.json";
        }
        if (tokenizer || !m_model.tokenizer)
            return;
        const GgufTokenizerData data = m_model.tokenizer->toGguf();
        writeText(folder / "tokenizer.json", tokenizerJson(data, m_model.path));
        writeText(folder / "tokenizer_config.json", tokenizerConfigJson(data));
    }

    /// What the model is decoded with: its draft is written along, so that the folder is whole.
    void writeDraft(const fs::path& folder) const {
        if (!m_model.speculative)
            return;
        if (m_model.speculative->heads) {
            writeDraftHeads(*m_model.speculative->heads, folder / kDraftFolder, m_control);
        } else if (m_model.speculative->hasModel()) {
            Model draft = loadModel(m_model.speculative->draft, &m_control);
            draft.speculative.reset();
            writeModelFolder(draft, folder / kDraftFolder, m_control);
        }
        writeText(folder / kSpeculativeFile, toJson(*m_model.speculative).dump(2) + "\n");
    }

    static void copyFile(const fs::path& from, const fs::path& to) {
        const auto file = MappedFile::open(from);
        FileWriter out(to);
        out.write(file->text());
        out.finish();
    }

    const Model& m_model;
    bool m_compressed;
    RunControl& m_control;
    ExportProgress* m_progress = nullptr;
    LossyNotes m_notes;
    std::vector<TensorToWrite> m_tensors;
    std::vector<Group> m_groups;
    std::vector<std::string> m_ignored;
    bool m_adapter = false;  ///< packed weights have low-rank corrections
};

}  // namespace

ExportReport exportFolder(const Model& model, bool compressed, const fs::path& out,
                          RunControl& control) {
    return FolderExport(model, compressed, control).write(out);
}

}  // namespace fettle
