#include "app/cli/command_line.h"

#include <algorithm>

#include "engine/core/devices.h"
#include "engine/core/error.h"

namespace fettle::cli {

CLI::App* addCommand(CLI::App& parent, CommandLine& line, const std::string& name,
                     const std::string& help, std::function<int()> action) {
    CLI::App* command = parent.add_subcommand(name, help);
    command->add_flag("--json", line.json, "Print one JSON document on standard output");
    command->add_option("--device", line.device, "cpu, cuda or cuda:N (default cpu)");
    command->add_option("--threads", line.threads, "Threads to compute with (default: all)")
        ->check(CLI::Range(0, 1024));
    command->callback([&line, action = std::move(action)] { line.action = action; });
    return command;
}

void requireDevice(const CommandLine& line) {
    if (line.device == "cpu")
        return;
    const bool cuda = line.device == "cuda" ||
                      (line.device.rfind("cuda:", 0) == 0 && line.device.size() > 5 &&
                       line.device.find_first_not_of("0123456789", 5) == std::string::npos);
    if (!cuda)
        throw EngineError(ErrorKind::Usage,
                          "--device " + line.device + ": no such device (cpu, cuda, cuda:0, ...)");
    const std::string id = line.device == "cuda" ? "cuda:0" : line.device;
    const auto devices = listDevices();
    const auto named = std::find_if(devices.begin(), devices.end(),
                                    [&](const DeviceSummary& d) { return d.id == id; });
    const auto any = std::find_if(devices.begin(), devices.end(), [](const DeviceSummary& d) {
        return d.id.rfind("cuda", 0) == 0;
    });
    std::string reason = "this machine has no such device";
    if (named != devices.end())
        reason = named->usable ? "models run on the CPU only so far" : named->reason;
    else if (any != devices.end() && !any->usable)
        reason = any->reason;
    throw EngineError(ErrorKind::Device, "--device " + line.device + ": " + reason);
}

}  // namespace fettle::cli
