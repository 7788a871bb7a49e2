// fettle-cli experiments favourite | tag | note
#pragma once

#include <string>

#include "app/cli/command_line.h"
#include "engine/experiment/experiment_record.h"

namespace fettle::cli {

/// Adds the three commands to the group `experiments`.
void addAnnotationCommands(CLI::App& group, CommandLine& line);

/// "* int4 [best, for the paper]": a name as lists show it, with its star and tags.
std::string annotatedName(const ExperimentRecord& record);
/// "best, for the paper"
std::string tagText(const Annotations& annotations);

}  // namespace fettle::cli
