// fettle-cli export (MODEL | --experiment ID) --format FORMAT --out PATH
#include <algorithm>
#include <cstdio>
#include <memory>

#include "app/cli/commands.h"
#include "app/cli/engine_session.h"
#include "app/cli/experiment_store.h"
#include "app/cli/output.h"

namespace fettle::cli {

namespace {

struct ExportArguments {
    ExportRequest request;
    std::string type;
    std::string db;
    std::int64_t experiment = 0;
    bool noVerify = false;
    bool verify = false;
};

std::string knownFormats() {
    std::string text = "gguf";
    for (const ExportFormatInfo& format : exportFormats())
        text += ", " + format.id;
    return text;
}

/// "gguf" means 16 bits unless --type says otherwise; "gguf" + "q8_0" is "gguf-q8_0".
std::string formatId(const ExportArguments& options) {
    std::string id = options.request.format;
    if (id == "gguf")
        id += "-" + (options.type.empty() ? "f16" : options.type);
    else if (!options.type.empty())
        throw EngineError(ErrorKind::Usage, "--type goes with --format gguf only");
    const auto& formats = exportFormats();
    if (std::none_of(formats.begin(), formats.end(),
                     [&](const ExportFormatInfo& format) { return format.id == id; }))
        throw EngineError(ErrorKind::Usage,
                          "--format " + id + ": unknown; one of " + knownFormats());
    return id;
}

void print(const ExportReport& report) {
    std::printf("%s: %s, %s\n", report.path.c_str(), report.format.c_str(),
                formatBytes(static_cast<double>(report.bytes)).c_str());
    for (const ExportCheck& check : report.checks)
        std::printf("  %-6s %s%s%s\n", check.passed ? "ok" : "FAILED", check.name.c_str(),
                    check.detail.empty() ? "" : ": ", check.detail.c_str());
    for (const std::string& loss : report.lossy)
        std::printf("  lossy  %s\n", loss.c_str());
    std::string loaders;
    for (const std::string& loader : report.loadedBy)
        loaders += (loaders.empty() ? "" : ", ") + loader;
    if (!loaders.empty())
        std::printf("  loaded by %s\n", loaders.c_str());
}

int exportCommand(const CommandLine& line, ExportArguments options) {
    options.request.format = formatId(options);
    options.request.verify = !options.noVerify;
    if (options.experiment != 0)
        options.request.modelPath = artifactOf(options.db, options.experiment);
    EngineSession engine(line);
    const auto report = engine.run<ExportReport>(options.request);
    const bool failed = std::any_of(report.checks.begin(), report.checks.end(),
                                    [](const ExportCheck& check) { return !check.passed; });
    if (line.json) {
        nlohmann::json checks = nlohmann::json::array();
        for (const ExportCheck& check : report.checks)
            checks.push_back(
                {{"name", check.name}, {"passed", check.passed}, {"detail", check.detail}});
        printJson({{"path", report.path},
                   {"format", report.format},
                   {"bytes", report.bytes},
                   {"verified", options.request.verify && !failed},
                   {"checks", checks},
                   {"loaded_by", report.loadedBy},
                   {"lossy", report.lossy}});
    } else {
        print(report);
    }
    if (failed)
        printError(report.path +
                   ": the file was written but is not what it should be; see the checks");
    return failed ? kExitDoesNotHold : kExitDone;
}

}  // namespace

void addExport(CLI::App& app, CommandLine& line) {
    const auto options = std::make_shared<ExportArguments>();
    CLI::App* command =
        addCommand(app, line, "export", "Write a model in a format that other runtimes load",
                   [&line, options] { return exportCommand(line, *options); });
    CLI::Option* model =
        command->add_option("MODEL", options->request.modelPath, "Folder, .gguf file, or demo");
    CLI::Option* experiment = command->add_option("--experiment", options->experiment,
                                                  "Export the result of a stored experiment");
    model->excludes(experiment);
    addDatabaseOption(*command, options->db);
    command->add_option("--format", options->request.format, "One of " + knownFormats())
        ->required();
    command->add_option("--type", options->type,
                        "With --format gguf: f16, q8_0, q4_0, q3_k_m, q4_k_m, q5_k_m or q6_k");
    command->add_option("--calibration", options->request.calibration,
                        "Text that says which inputs matter, for q3_k_m, q4_k_m, q5_k_m and q6_k");
    command
        ->add_option("--calibration-tokens", options->request.calibrationTokens,
                     "Tokens of it to use (default 16384)")
        ->check(CLI::PositiveNumber);
    command->add_option("--out", options->request.outPath, "File (gguf) or folder to write")
        ->required();
    command->add_flag("--no-verify", options->noVerify, "Do not read the result back");
    command->add_flag("--verify", options->verify,
                      "Read the result back and compare (the default)");
    command->parse_complete_callback([model, experiment] {
        if (model->count() + experiment->count() == 0)
            throw CLI::RequiredError("MODEL or --experiment");
    });
}

}  // namespace fettle::cli
