#include "engine/io/exporter.h"

#include <algorithm>

#include "engine/core/error.h"
#include "engine/io/export_parts.h"
#include "engine/io/staged_output.h"

namespace fettle {
namespace {

const ExportFormatInfo& findFormat(const std::string& id) {
    const auto& formats = exportFormats();
    const auto found = std::find_if(formats.begin(), formats.end(),
                                    [&](const ExportFormatInfo& f) { return f.id == id; });
    if (found != formats.end())
        return *found;
    std::string known;
    for (const ExportFormatInfo& format : formats)
        known += (known.empty() ? "" : ", ") + format.id;
    throw EngineError(ErrorKind::Usage, "unknown export format \"" + id + "\"; known are " + known);
}

std::optional<GgufTarget> ggufTarget(const std::string& format) {
    using F = kernels::WeightFormat;
    struct Known {
        const char* id;
        GgufTarget target;
    };
    for (const Known& known :
         {Known{"gguf-f16", {F::F16, 1}}, Known{"gguf-q8_0", {F::Q8_0, 7}},
          Known{"gguf-q4_0", {F::Q4_0, 2}}, Known{"gguf-q3_k_m", {F::Q3_K, 12}},
          Known{"gguf-q4_k_m", {F::Q4_K, 15}}, Known{"gguf-q5_k_m", {F::Q5_K, 17}},
          Known{"gguf-q6_k", {F::Q6_K, 18}}})
        if (format == known.id)
            return known.target;
    return std::nullopt;
}

ExportReport write(const Model& model, const std::string& format, const std::filesystem::path& out,
                   RunControl& control, const ImportanceMatrix* importance) {
    refuseUnwritable(model, control);
    if (format == "safetensors" || format == "compressed-tensors")
        return exportFolder(model, format == "compressed-tensors", out, control);
    if (std::optional<GgufTarget> target = ggufTarget(format)) {
        target->importance = importance;
        return exportGguf(model, *target, out, control);
    }
    throw EngineError(ErrorKind::Internal, "export format " + format + " has no writer");
}

/// llama.cpp takes a draft as a file of its own. It stands beside the target's, as NAME-draft.gguf,
/// and NAME.speculative.json names both.
void writeGgufDraft(const Model& model, const std::filesystem::path& out, ExportReport& report,
                    const std::string& format, RunControl& control) {
    const std::filesystem::path base = out.parent_path() / out.stem();
    if (model.speculative->heads) {
        report.lossy.push_back(
            "the heads that the model is decoded with: no GGUF runtime takes them");
        return;
    }
    nlohmann::json names = toJson(*model.speculative);
    names["target"] = out.filename().string();
    if (model.speculative->hasModel()) {
        const std::filesystem::path file = base.string() + "-draft.gguf";
        report.bytes +=
            write(loadModel(model.speculative->draft, &control), format, file, control, nullptr)
                .bytes;
        names["draft"] = file.filename().string();
    }
    const std::string text = names.dump(2) + "\n";
    StagedOutput staged(base.string() + ".speculative.json", StagedOutput::Kind::File, text.size());
    FileWriter writer(staged.path());
    writer.write(text);
    writer.finish();
    staged.commit();
    report.bytes += text.size();
}

}  // namespace

ExportReport exportModel(const Model& model, const std::string& format,
                         const std::filesystem::path& out, RunControl& control,
                         const ImportanceMatrix* importance) {
    const ExportFormatInfo& info = findFormat(format);
    ExportReport report = write(model, info.id, out, control, importance);
    if (info.isFile && model.speculative)
        writeGgufDraft(model, out, report, info.id, control);
    report.format = info.id;
    report.loadedBy = info.loadedBy;
    return report;
}

std::optional<kernels::WeightFormat> kQuantBase(const std::string& format) {
    const std::optional<GgufTarget> target = ggufTarget(format);
    if (!target || !blockScheme(target->format).isSuperBlock())
        return std::nullopt;
    return target->format;
}

ExportReport writeModelFolder(const Model& model, const std::filesystem::path& out,
                              RunControl& control) {
    const std::vector<std::string> linear = linearWeightNames(model.config);
    const bool packed = std::any_of(linear.begin(), linear.end(), [&](const std::string& name) {
        return model.has(name) && isPackable(model.weight(name));
    });
    return exportModel(model, packed ? "compressed-tensors" : "safetensors", out, control);
}

}  // namespace fettle
