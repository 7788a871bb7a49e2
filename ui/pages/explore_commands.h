// What the explore page can take back: stars, tags, notes, names and removals. Each command goes
// through the service, so that the store, the table and the charts follow both ways. GUI thread
// only.
#pragma once

#include <QString>
#include <vector>

class QUndoCommand;

namespace fettle::ui {

class ExperimentService;

/// Commands that would change nothing are null. `service` must outlive them.
QUndoCommand* favouriteCommand(ExperimentService* service, const std::vector<qint64>& ids, bool on);
QUndoCommand* tagCommand(ExperimentService* service, const std::vector<qint64>& ids,
                         const QString& tag, bool on);
QUndoCommand* noteCommand(ExperimentService* service, qint64 id, const QString& note);
QUndoCommand* renameCommand(ExperimentService* service, qint64 id, const QString& name);
QUndoCommand* removeCommand(ExperimentService* service, const std::vector<qint64>& ids);

}  // namespace fettle::ui
