#include "ui/pages/explore_commands.h"

#include <QCoreApplication>
#include <QUndoCommand>
#include <functional>
#include <utility>

#include "ui/bridge/experiment_service.h"

namespace fettle::ui {
namespace {

class Command : public QUndoCommand {
public:
    Command(const QString& text, std::function<void()> apply, std::function<void()> revert)
        : QUndoCommand(text), m_apply(std::move(apply)), m_revert(std::move(revert)) {}
    void redo() override { m_apply(); }
    void undo() override { m_revert(); }

private:
    std::function<void()> m_apply;
    std::function<void()> m_revert;
};

QString words(const char* text) {
    return QCoreApplication::translate("fettle::ui::ExploreCommands", text);
}

}  // namespace

QUndoCommand* favouriteCommand(ExperimentService* service, const std::vector<qint64>& ids,
                               bool on) {
    std::vector<qint64> changed;
    for (const qint64 id : ids) {
        const auto record = service->experiment(id);
        if (record && record->annotations.favourite != on) {
            changed.push_back(id);
        }
    }
    if (changed.empty()) {
        return nullptr;
    }
    return new Command(
        on ? words("star") : words("removal of the star"),
        [=] { service->setFavourite(changed, on); }, [=] { service->setFavourite(changed, !on); });
}

QUndoCommand* tagCommand(ExperimentService* service, const std::vector<qint64>& ids,
                         const QString& tag, bool on) {
    std::vector<qint64> changed;
    for (const qint64 id : ids) {
        const auto record = service->experiment(id);
        if (record && record->annotations.hasTag(tag.toStdString()) != on) {
            changed.push_back(id);
        }
    }
    if (changed.empty() || tag.isEmpty()) {
        return nullptr;
    }
    return new Command((on ? words("tag “%1”") : words("removal of tag “%1”")).arg(tag),
                       [=] { service->setTag(changed, tag, on); },
                       [=] { service->setTag(changed, tag, !on); });
}

QUndoCommand* noteCommand(ExperimentService* service, qint64 id, const QString& note) {
    const auto record = service->experiment(id);
    const QString before = record ? QString::fromStdString(record->annotations.note) : QString();
    if (!record || before == note) {
        return nullptr;
    }
    return new Command(
        words("note"), [=] { service->setNote(id, note); }, [=] { service->setNote(id, before); });
}

QUndoCommand* renameCommand(ExperimentService* service, qint64 id, const QString& name) {
    const auto record = service->experiment(id);
    const QString before = record ? QString::fromStdString(record->name) : QString();
    if (!record || before == name) {
        return nullptr;
    }
    return new Command(
        words("new name"), [=] { service->rename(id, name); },
        [=] { service->rename(id, before); });
}

QUndoCommand* removeCommand(ExperimentService* service, const std::vector<qint64>& ids) {
    // The store brings the removal back that was done last, which is this one: commands are undone
    // in the reverse of their order.
    return new Command(
        words("removal"), [=] { service->remove(ids); }, [=] { service->undoRemove(); });
}

}  // namespace fettle::ui
