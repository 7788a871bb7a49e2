#include "app/cli/command_line.h"

#include "engine/core/devices.h"
#include "engine/core/error.h"

namespace fettle::cli {

CLI::App* addCommand(CLI::App& parent, CommandLine& line, const std::string& name,
                     const std::string& help, std::function<int()> action) {
    CLI::App* command = parent.add_subcommand(name, help);
    command->add_flag("--json", line.json, "Print one JSON document on standard output");
    command->add_option(
        "--device", line.device,
        "cpu, cuda, cuda:N, or auto: a CUDA device if one can be used (default cpu)");
    command->add_option("--threads", line.threads, "Threads to compute with (default: all)")
        ->check(CLI::Range(0, 1024));
    command->callback([&line, action = std::move(action)] { line.action = action; });
    return command;
}

void requireDevice(const CommandLine& line) {
    if (line.device == "cpu" || line.device == "auto")
        return;
    const bool cuda = line.device == "cuda" ||
                      (line.device.rfind("cuda:", 0) == 0 && line.device.size() > 5 &&
                       line.device.find_first_not_of("0123456789", 5) == std::string::npos);
    if (!cuda)
        throw EngineError(ErrorKind::Usage, "--device " + line.device +
                                                ": no such device (cpu, cuda, cuda:0, ..., auto)");
    try {
        chooseDevice(line.device);
    } catch (const EngineError& error) {
        throw EngineError(error.kind(), std::string("--device ") + error.what());
    }
}

}  // namespace fettle::cli
