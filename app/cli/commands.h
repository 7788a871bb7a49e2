// The subcommands. Each lives in the file of its name and adds itself to the parser.
#pragma once

#include "app/cli/command_line.h"

namespace fettle::cli {

void addDevices(CLI::App& app, CommandLine& line);
void addInspect(CLI::App& app, CommandLine& line);
void addTokenize(CLI::App& app, CommandLine& line);
void addLogits(CLI::App& app, CommandLine& line);
void addEvaluate(CLI::App& app, CommandLine& line);
void addBench(CLI::App& app, CommandLine& line);
void addGenerate(CLI::App& app, CommandLine& line);
void addTechniques(CLI::App& app, CommandLine& line);
void addRun(CLI::App& app, CommandLine& line);
void addSweep(CLI::App& app, CommandLine& line);
void addAdvise(CLI::App& app, CommandLine& line);
void addAllocate(CLI::App& app, CommandLine& line);
void addExperiments(CLI::App& app, CommandLine& line);
void addGate(CLI::App& app, CommandLine& line);
void addReport(CLI::App& app, CommandLine& line);
void addTrain(CLI::App& app, CommandLine& line);
void addExport(CLI::App& app, CommandLine& line);
void addDraft(CLI::App& app, CommandLine& line);
void addDrafts(CLI::App& app, CommandLine& line);
void addDemo(CLI::App& app, CommandLine& line);

}  // namespace fettle::cli
