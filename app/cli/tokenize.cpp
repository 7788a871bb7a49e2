// fettle-cli tokenize MODEL --text T | --file F
#include <cstdio>
#include <memory>

#include "app/cli/commands.h"
#include "app/cli/interrupt.h"
#include "app/cli/output.h"
#include "app/cli/progress_printer.h"
#include "engine/eval/text_windows.h"
#include "engine/model/model.h"

namespace fettle::cli {

namespace {

struct TokenizeArguments {
    std::string model;
    std::string text;
    std::string file;
    bool special = false;
};

int tokenize(const CommandLine& line, const TokenizeArguments& options) {
    requireDevice(line);
    ProgressPrinter printer;
    RunControl control(Interrupt::token(), nullptr, printer);
    const Model model = loadModel(options.model, &control);
    const std::string text = options.file.empty() ? options.text : readText(options.file);
    const std::vector<std::int32_t> ids = model.tokenizer->encode(text, options.special);
    if (line.json) {
        printJson({{"ids", ids}, {"count", ids.size()}});
        return kExitDone;
    }
    for (const std::int32_t id : ids)
        std::printf("%6d  %s\n", id, jsonText(model.tokenizer->decode({id}, false), -1).c_str());
    return kExitDone;
}

}  // namespace

void addTokenize(CLI::App& app, CommandLine& line) {
    const auto options = std::make_shared<TokenizeArguments>();
    CLI::App* command = addCommand(app, line, "tokenize", "Show the token ids of a text",
                                   [&line, options] { return tokenize(line, *options); });
    command->add_option("MODEL", options->model, "Folder, .gguf file, or demo")->required();
    CLI::Option* text = command->add_option("--text", options->text, "The text itself");
    CLI::Option* file = command->add_option("--file", options->file, "A file with the text");
    text->excludes(file);
    command->add_flag("--special", options->special,
                      "Add the special tokens (BOS, EOS) that the tokenizer asks for");
    command->parse_complete_callback([text, file] {
        if (text->count() + file->count() == 0)
            throw CLI::RequiredError("--text or --file");
    });
}

}  // namespace fettle::cli
