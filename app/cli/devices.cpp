// fettle-cli devices [--roofline MODEL]
#include "engine/core/devices.h"

#include <cmath>
#include <cstdio>
#include <memory>

#include "app/cli/commands.h"
#include "app/cli/engine_session.h"
#include "app/cli/output.h"
#include "engine/eval/roofline_prediction.h"

namespace fettle::cli {

namespace {

struct DevicesArguments {
    std::string model;
    std::int64_t promptTokens = 512;
};

int listAll(const CommandLine& line) {
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

// ---- the roofline

std::string threeDigits(double value) {
    char text[32];
    std::snprintf(text, sizeof text, value < 999.5 ? "%.3g" : "%.0f", value);
    return text;
}

nlohmann::json toJson(const KernelPrediction& kernel, const std::vector<DevicePeaks>& devices) {
    nlohmann::json seconds;
    for (std::size_t d = 0; d < devices.size(); ++d)
        seconds[devices[d].name] = kernel.seconds[d];
    return {{"kernel", kernel.kernel},
            {"launches", kernel.launches},
            {"bytes", kernel.bytes},
            {"operations", kernel.operations},
            {"predicted_s", seconds}};
}

nlohmann::json toJson(const PassPrediction& pass, const std::vector<DevicePeaks>& devices) {
    nlohmann::json kernels = nlohmann::json::array();
    for (const KernelPrediction& kernel : pass.kernels)
        kernels.push_back(toJson(kernel, devices));
    return {{"tokens", pass.tokens},
            {"past", pass.past},
            {"kernels", kernels},
            {"total", toJson(pass.total, devices)}};
}

nlohmann::json toJson(const RooflinePrediction& prediction) {
    nlohmann::json plans = nlohmann::json::array();
    for (const PlanPrediction& plan : prediction.plans) {
        nlohmann::json devices = nlohmann::json::array();
        for (const DevicePeaks& device : plan.devices)
            devices.push_back({{"name", device.name},
                               {"source", device.source},
                               {"memory_bytes", device.memoryBytes},
                               {"fits", prediction.deviceBytes <= device.memoryBytes},
                               {"bytes_per_s", device.bytesPerSecond},
                               {"float32_per_s", device.float32},
                               {"dp4a_per_s", device.dp4a},
                               {"half_per_s", device.half},
                               {"int8_per_s", device.int8},
                               {"fp8_per_s", device.fp8},
                               {"fp4_per_s", device.fp4}});
        plans.push_back({{"devices", devices},
                         {"prompt", toJson(plan.prompt, plan.devices)},
                         {"decode", toJson(plan.decode, plan.devices)}});
    }
    return {{"predicted", true}, {"device_bytes", prediction.deviceBytes}, {"plans", plans}};
}

void print(const PassPrediction& pass, const std::vector<DevicePeaks>& devices) {
    std::vector<std::string> head = {"kernel", "launches", "MB", "Gop"};
    for (const DevicePeaks& device : devices)
        head.push_back(std::string(device.name) + " us");
    std::vector<std::vector<std::string>> rows;
    const auto add = [&](const KernelPrediction& kernel) {
        std::vector<std::string> row = {kernel.kernel, std::to_string(kernel.launches),
                                        threeDigits(kernel.bytes / 1e6),
                                        threeDigits(kernel.operations / 1e9)};
        for (const double seconds : kernel.seconds)
            row.push_back(threeDigits(seconds * 1e6));
        rows.push_back(std::move(row));
    };
    for (const KernelPrediction& kernel : pass.kernels)
        add(kernel);
    add(pass.total);
    std::vector<std::string> rate = {"tokens/s, at most", "", "", ""};
    for (const double seconds : pass.total.seconds)
        rate.push_back(threeDigits(static_cast<double>(pass.tokens) / seconds));
    rows.push_back(std::move(rate));
    printTable(head, rows);
}

void print(const RooflinePrediction& prediction) {
    std::printf(
        "Predicted, not measured: what Fettle's CUDA kernels take at least, from the bytes and "
        "operations of each launch\nand the peak figures that NVIDIA publishes.\n");
    std::string small;
    for (const PlanPrediction& plan : prediction.plans) {
        std::printf("\nA prompt of %lld tokens, predicted:\n",
                    static_cast<long long>(plan.prompt.tokens));
        print(plan.prompt, plan.devices);
        std::printf("\nOne token after %lld, predicted:\n",
                    static_cast<long long>(plan.decode.past));
        print(plan.decode, plan.devices);
        for (const DevicePeaks& device : plan.devices)
            if (prediction.deviceBytes > device.memoryBytes)
                small += (small.empty() ? "" : ", ") + std::string(device.name);
    }
    std::printf("\nDevice memory: %s",
                formatBytes(static_cast<double>(prediction.deviceBytes)).c_str());
    std::printf("%s\n", small.empty() ? "" : (", more than there is on " + small).c_str());
}

int roofline(const CommandLine& line, const DevicesArguments& options) {
    return runDirectly(line, [&](Backend&, RunControl& control) {
        const Model model = loadModel(options.model, &control);
        if (options.promptTokens >= model.config.contextLength)
            throw EngineError(ErrorKind::Usage,
                              "--prompt-tokens: " + std::to_string(options.promptTokens) +
                                  " and one more are beyond the model's context of " +
                                  std::to_string(model.config.contextLength));
        const RooflinePrediction prediction = predictRoofline(model, options.promptTokens, control);
        if (line.json)
            printJson(toJson(prediction));
        else
            print(prediction);
        return kExitDone;
    });
}

}  // namespace

void addDevices(CLI::App& app, CommandLine& line) {
    const auto options = std::make_shared<DevicesArguments>();
    CLI::App* command =
        addCommand(app, line, "devices", "List what this machine can compute on", [&line, options] {
            return options->model.empty() ? listAll(line) : roofline(line, *options);
        });
    command->add_option("--roofline", options->model,
                        "Predict what a model takes at least on NVIDIA devices, kernel by kernel");
    command->add_option("--prompt-tokens", options->promptTokens, "Tokens before the one decoded")
        ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 20));
}

}  // namespace fettle::cli
