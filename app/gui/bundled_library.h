// What every library begins with: the demo model with its texts and tasks, found in the resources
// folder.
#pragma once

#include <vector>

#include "ui/bridge/experiment_service.h"

namespace fettle::app {

/// Entries have negative ids and are not stored: their paths belong to the installation, not to the
/// user.
std::vector<ui::LibraryItem> bundledLibrary();

}  // namespace fettle::app
