#include "app/cli/command_line.h"

#include <regex>

#include "engine/core/devices.h"
#include "engine/core/error.h"

namespace fettle::cli {

CLI::App* addCommand(CLI::App& parent, CommandLine& line, const std::string& name,
                     const std::string& help, std::function<int()> action) {
    CLI::App* command = parent.add_subcommand(name, help);
    command->add_flag("--json", line.json, "Print one JSON document on standard output");
    command->add_option(
        "--device", line.device,
        "cpu, cuda, cuda:N, several (cuda:0,cuda:1) that hold a model together, or auto: a CUDA "
        "device if one can be used (default cpu)");
    command->add_option("--threads", line.threads, "Threads to compute with (default: all)")
        ->check(CLI::Range(0, 1024));
    command
        ->add_option_function<std::string>(
            "--compute",
            [&line](const std::string& type) {
                line.products =
                    type == "bf16" ? kernels::Products::BFloat16 : kernels::Products::Float32;
            },
            "Products of weights in bfloat16: f32 (default), or bf16, which rounds activations "
            "and takes half the arithmetic where the processor has such")
        ->check(CLI::IsMember({"f32", "bf16"}));
    command->callback([&line, action = std::move(action)] { line.action = action; });
    return command;
}

void requireDevice(const CommandLine& line) {
    if (line.device == "cpu" || line.device == "auto")
        return;
    static const std::regex cuda("cuda(:[0-9]+)?(,cuda:[0-9]+)*");
    if (!std::regex_match(line.device, cuda))
        throw EngineError(ErrorKind::Usage, "--device " + line.device +
                                                ": no such device (cpu, cuda, cuda:0, ..., auto)");
    try {
        chooseDevice(line.device);
    } catch (const EngineError& error) {
        throw EngineError(error.kind(), std::string("--device ") + error.what());
    }
}

}  // namespace fettle::cli
