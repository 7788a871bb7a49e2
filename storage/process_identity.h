// Which process owns a run or a half-written folder, and whether it still lives.
#pragma once

#include <cstdint>
#include <string>

namespace fettle::storage {

/// A pid alone is reused after a while, and after a restart of the host at once; with the start
/// time (in clock ticks since boot) and the boot id it names one process for good.
struct ProcessIdentity {
    std::int64_t pid = 0;
    std::int64_t start = 0;
    std::string boot;

    bool operator==(const ProcessIdentity&) const = default;
    /// False for a process that has ended, zombies included, and for one of an earlier boot.
    bool alive() const;
};

ProcessIdentity thisProcess();

}  // namespace fettle::storage
