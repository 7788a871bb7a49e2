#include "engine/io/exporter.h"

#include <algorithm>

#include "engine/core/error.h"
#include "engine/io/export_parts.h"

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

ExportReport write(const Model& model, const std::string& format, const std::filesystem::path& out,
                   RunControl& control) {
    refuseUnwritable(model, control);
    if (format == "safetensors" || format == "compressed-tensors")
        return exportFolder(model, format == "compressed-tensors", out, control);
    if (format == "gguf-f16")
        return exportGguf(model, kernels::WeightFormat::F16, out, control);
    if (format == "gguf-q8_0")
        return exportGguf(model, kernels::WeightFormat::Q8_0, out, control);
    if (format == "gguf-q4_0")
        return exportGguf(model, kernels::WeightFormat::Q4_0, out, control);
    throw EngineError(ErrorKind::Internal, "export format " + format + " has no writer");
}

}  // namespace

ExportReport exportModel(const Model& model, const std::string& format,
                         const std::filesystem::path& out, RunControl& control) {
    const ExportFormatInfo& info = findFormat(format);
    ExportReport report = write(model, info.id, out, control);
    report.format = info.id;
    report.loadedBy = info.loadedBy;
    return report;
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
