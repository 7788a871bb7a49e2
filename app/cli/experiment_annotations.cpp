#include "app/cli/experiment_annotations.h"

#include <cstdio>
#include <functional>
#include <memory>

#include "app/cli/experiment_store.h"
#include "app/cli/output.h"
#include "engine/core/error.h"
#include "storage/annotation_repository.h"

namespace fettle::cli {

namespace {

struct ExperimentAnnotationsArguments {
    std::string database;
    std::vector<std::int64_t> ids;
    std::vector<std::string> add;
    std::vector<std::string> remove;
    std::string note;
    bool off = false;
    bool clear = false;
    bool hasNote = false;
};

/// Changes every experiment of the options, all or none, and prints how they stand then.
int change(const CommandLine& line, const ExperimentAnnotationsArguments& options,
           const std::function<void(storage::AnnotationRepository&, std::int64_t)>& work) {
    ExperimentStore store(options.database, ExperimentStore::Mode::Existing);
    store.annotate(options.ids, work);
    nlohmann::json items = nlohmann::json::array();
    for (const std::int64_t id : options.ids) {
        const ExperimentRecord record = store.record(id);
        items.push_back(experimentJson(record));
        if (!line.json)
            std::printf("%lld  %s\n", static_cast<long long>(id), annotatedName(record).c_str());
    }
    if (line.json)
        printJson({{"experiments", items}});
    return kExitDone;
}

int favourite(const CommandLine& line, const ExperimentAnnotationsArguments& options) {
    return change(line, options, [&](storage::AnnotationRepository& repository, std::int64_t id) {
        repository.setFavourite(id, !options.off);
    });
}

int tag(const CommandLine& line, const ExperimentAnnotationsArguments& options) {
    if (options.add.empty() && options.remove.empty())
        throw EngineError(ErrorKind::Usage, "nothing to change: give --add TAG or --remove TAG");
    for (const std::string& name : options.add)
        if (normalTag(name).empty())
            throw EngineError(ErrorKind::Usage, "--add \"" + name + "\": a tag needs a letter");
    return change(line, options, [&](storage::AnnotationRepository& repository, std::int64_t id) {
        for (const std::string& name : options.remove)
            repository.removeTag(id, name);
        for (const std::string& name : options.add)
            repository.addTag(id, name);
    });
}

int note(const CommandLine& line, const ExperimentAnnotationsArguments& options) {
    if (options.hasNote && options.clear)
        throw EngineError(ErrorKind::Usage, "give either a TEXT or --clear");
    if (options.hasNote || options.clear)
        return change(line, options,
                      [&](storage::AnnotationRepository& repository, std::int64_t id) {
                          repository.setNote(id, options.clear ? "" : options.note);
                      });
    const ExperimentRecord record =
        ExperimentStore(options.database, ExperimentStore::Mode::Existing)
            .record(options.ids.front());
    if (line.json)
        printJson({{"experiment", record.id}, {"note", record.annotations.note}});
    else if (!record.annotations.note.empty())
        std::printf("%s\n", record.annotations.note.c_str());
    return kExitDone;
}

}  // namespace

std::string tagText(const Annotations& annotations) {
    std::string text;
    for (const std::string& name : annotations.tags)
        text += (text.empty() ? "" : ", ") + name;
    return text;
}

std::string annotatedName(const ExperimentRecord& record) {
    const Annotations& annotations = record.annotations;
    return (annotations.favourite ? "* " : "") + record.name +
           (annotations.tags.empty() ? "" : " [" + tagText(annotations) + "]");
}

void addAnnotationCommands(CLI::App& group, CommandLine& line) {
    const auto options = std::make_shared<ExperimentAnnotationsArguments>();
    const auto add = [&](const std::string& name, const std::string& help, int most,
                         int (*action)(const CommandLine&, const ExperimentAnnotationsArguments&)) {
        CLI::App* command = addCommand(group, line, name, help,
                                       [&line, options, action] { return action(line, *options); });
        addDatabaseOption(*command, options->database);
        command->add_option("ID", options->ids, "Numbers of experiments")
            ->required()
            ->expected(1, most)
            ->allow_extra_args(most > 1);
        return command;
    };
    constexpr int kMany = 1 << 20;
    add("favourite", "Give experiments a star", kMany, favourite)
        ->add_flag("--off", options->off, "Take the star away");
    CLI::App* tags = add("tag", "Add tags to experiments, or take them away", kMany, tag);
    tags->add_option("--add", options->add, "A tag; may be given several times")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    tags->add_option("--remove", options->remove, "A tag; may be given several times")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    CLI::App* notes = add("note", "Write a note to an experiment; without TEXT, print it", 1, note);
    notes->add_option_function<std::string>(
        "TEXT",
        [options](const std::string& text) {
            options->note = text;
            options->hasNote = true;
        },
        "The note");
    notes->add_flag("--clear", options->clear, "Take the note away");
}

}  // namespace fettle::cli
