// fettle-cli devices
#include "engine/core/devices.h"
#include "app/cli/commands.h"
#include "app/cli/output.h"

namespace fettle::cli {

namespace {

int devices(const CommandLine& line) {
    nlohmann::json list = nlohmann::json::array();
    std::vector<std::vector<std::string>> rows;
    for (const DeviceSummary& device : listDevices()) {
        list.push_back({{"id", device.id},
                        {"name", device.name},
                        {"isa", device.isa},
                        {"threads", device.threads},
                        {"memory_bytes", device.memoryBytes},
                        {"usable", device.usable},
                        {"reason", device.reason}});
        rows.push_back(
            {device.id, device.name, device.isa,
             device.threads > 0 ? std::to_string(device.threads) : "",
             device.memoryBytes > 0 ? formatBytes(static_cast<double>(device.memoryBytes)) : "",
             device.usable ? "yes" : "no: " + device.reason});
    }
    if (line.json)
        printJson({{"devices", list}});
    else
        printTable({"device", "name", "instruction set", "threads", "memory", "usable"}, rows);
    return kExitDone;
}

}  // namespace

void addDevices(CLI::App& app, CommandLine& line) {
    addCommand(app, line, "devices", "List what this machine can compute on",
               [&line] { return devices(line); });
}

}  // namespace fettle::cli
