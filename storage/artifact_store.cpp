#include "storage/artifact_store.h"

#include <fcntl.h>
#include <stdio.h>

#include <cerrno>

#include "storage/durable_file.h"

namespace fettle::storage {
namespace {

namespace fs = std::filesystem;

void removeTree(const fs::path& path) {
    std::error_code failed;
    fs::remove_all(path, failed);
    if (failed)
        throwErrno(path.string(), "delete the folder", failed.value());
}

void renameOrThrow(const fs::path& from, const fs::path& to) {
    if (::rename(from.c_str(), to.c_str()) != 0)
        throwErrno(to.string(), "put the artifact in place", errno);
}

}  // namespace

ArtifactStore::ArtifactStore(fs::path root) : m_root(fs::absolute(root).lexically_normal()) {
    std::error_code failed;
    fs::create_directories(m_root, failed);
    if (failed)
        throwErrno(m_root.string(), "make the folder of artifacts", failed.value());
    cleanUp();
}

fs::path ArtifactStore::folder(std::int64_t experiment) const {
    return m_root / std::to_string(experiment);
}

fs::path ArtifactStore::partialFolder(std::int64_t experiment) const {
    return m_root / partialName(std::to_string(experiment));
}

fs::path ArtifactStore::begin(std::int64_t experiment) {
    const fs::path partial = partialFolder(experiment);
    removeTree(partial);
    std::error_code failed;
    fs::create_directory(partial, failed);
    if (failed)
        throwErrno(partial.string(), "make the folder", failed.value());
    return partial;
}

ArtifactReport ArtifactStore::commit(std::int64_t experiment, const std::string& format) {
    const fs::path partial = partialFolder(experiment);
    const fs::path target = folder(experiment);
    if (!fs::is_directory(partial))
        throw StorageError(partial.string(), "there is nothing to commit", StorageCause::Missing);
    syncTree(partial);
    const TreeDigest digest = digestTree(partial);
    if (!fs::exists(target)) {
        renameOrThrow(partial, target);
    } else if (::renameat2(AT_FDCWD, partial.c_str(), AT_FDCWD, target.c_str(), RENAME_EXCHANGE) ==
               0) {
        removeTree(partial);  // by now the artifact of an earlier attempt
    } else {
        // A file system that cannot swap: for a moment there is no artifact, but never half of one.
        const fs::path old = m_root / partialName("old-" + std::to_string(experiment));
        renameOrThrow(target, old);
        renameOrThrow(partial, target);
        removeTree(old);
    }
    syncFolder(m_root);
    return {target.string(), format, digest.bytes, digest.hash};
}

void ArtifactStore::abandon(std::int64_t experiment) {
    removeTree(partialFolder(experiment));
}

void ArtifactStore::remove(std::int64_t experiment) {
    const fs::path target = folder(experiment);
    removeTree(target.string() + ".checkpoints");
    if (!fs::exists(target))
        return;
    const fs::path doomed = m_root / partialName("removed-" + std::to_string(experiment));
    removeTree(doomed);
    renameOrThrow(target, doomed);
    removeTree(doomed);
}

int ArtifactStore::cleanUp() {
    int removed = 0;
    std::error_code failed;
    for (fs::directory_iterator entry(m_root, failed); !failed && entry != fs::directory_iterator();
         entry.increment(failed)) {
        const auto owner = partialOwner(entry->path().filename().string());
        if (!owner || owner->alive())
            continue;
        std::error_code kept;
        fs::remove_all(entry->path(), kept);
        removed += kept ? 0 : 1;
    }
    return removed;
}

}  // namespace fettle::storage
