// fettle-cli: everything the window does, without a window. One file per subcommand; see
// commands.h.
#include <clocale>
#include <new>

#include "app/cli/commands.h"
#include "app/cli/interrupt.h"
#include "app/cli/output.h"
#include "engine/core/error.h"
#include "storage/storage_error.h"

namespace {

using namespace fettle;
using namespace fettle::cli;

int parseAndRun(int argc, char** argv) {
    CLI::App app(
        "Fettle makes language models smaller and faster and shows what that costs.\n"
        "MODEL is a Hugging Face folder, a .gguf file, or \"demo\" (the bundled model).",
        "fettle-cli");
    app.set_version_flag("--version", std::string("fettle-cli ") + FETTLE_VERSION);
    app.require_subcommand(1);
    app.footer(
        "Exit codes: 0 done, 1 the thing asked for does not hold, 2 usage, 3 bad input,\n"
        "4 device or memory, 130 cancelled. Progress goes to standard error.");
    CommandLine line;
    for (const auto add : {addDevices, addInspect,  addTokenize,   addLogits,      addEvaluate,
                           addBench,   addGenerate, addTechniques, addRun,         addTrain,
                           addSweep,   addAdvise,   addAllocate,   addExperiments, addGate,
                           addReport,  addExport,   addDraft,      addDrafts,      addDemo})
        add(app, line);
    try {
        app.parse(argc, argv);
    } catch (const CLI::Success& wanted) {  // --help, --version
        return app.exit(wanted);
    } catch (const CLI::RequiredError& error) {
        // The parser reports a missing command where one was misspelt.
        const std::vector<std::string> unknown = app.remaining(true);
        const bool misspelt = !unknown.empty() && unknown[0].rfind("-", 0) != 0;
        printError(
            (misspelt ? "unknown command \"" + unknown[0] + "\"" : std::string(error.what())) +
            " (see fettle-cli --help)");
        return kExitUsage;
    } catch (const CLI::ParseError& error) {
        printError(std::string(error.what()) + " (see fettle-cli --help)");
        return kExitUsage;
    }
    return line.action();
}

}  // namespace

int main(int argc, char** argv) {
    std::setlocale(LC_ALL, "C.UTF-8");
    Interrupt::install();
    try {
        return parseAndRun(argc, argv);
    } catch (const Cancelled&) {
        printError("cancelled");
        return kExitCancelled;
    } catch (const EngineError& error) {
        printError(error.what());
        return exitCode(error.kind());
    } catch (const RecipeError& error) {
        printError(error.what());
        return kExitUsage;
    } catch (const storage::StorageError& error) {
        printError(error.what());
        return kExitBadInput;
    } catch (const std::bad_alloc&) {
        printError("not enough memory");
        return exitCode(ErrorKind::OutOfMemory);
    } catch (const std::exception& error) {
        printError(error.what());
        return kExitDoesNotHold;
    }
}
