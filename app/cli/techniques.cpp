// fettle-cli techniques
#include "engine/technique/technique.h"

#include <cstdio>

#include "app/cli/commands.h"
#include "app/cli/output.h"

namespace fettle::cli {

namespace {

void printParameter(const ParameterSchema& parameter) {
    std::printf("  %s (default %s%s%s)\n      %s\n", parameter.name.c_str(),
                jsonText(parameter.defaultValue, -1).c_str(), parameter.unit.empty() ? "" : " ",
                parameter.unit.c_str(), parameter.help.c_str());
    for (const ParameterChoice& choice : parameter.choices)
        std::printf("      %-12s %s\n", choice.value.c_str(), choice.help.c_str());
}

int techniqueList(const CommandLine& line) {
    if (line.json) {
        nlohmann::json list = nlohmann::json::array();
        for (const TechniqueDescriptor& technique : techniqueDescriptors())
            list.push_back(toJson(technique));
        printJson({{"techniques", list}});
        return kExitDone;
    }
    for (const TechniqueDescriptor& technique : techniqueDescriptors()) {
        std::printf("%s: %s\n%s\n", technique.id.c_str(), technique.title.c_str(),
                    technique.help.c_str());
        for (const ParameterSchema& parameter : technique.parameters)
            printParameter(parameter);
    }
    return kExitDone;
}

}  // namespace

void addTechniques(CLI::App& app, CommandLine& line) {
    addCommand(app, line, "techniques", "List every technique with its parameters",
               [&line] { return techniqueList(line); });
}

}  // namespace fettle::cli
