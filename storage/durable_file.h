// Files that are whole or absent: written beside, flushed to the disk, renamed. And a hash over
// what was written.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "storage/process_identity.h"
#include "storage/storage_error.h"

namespace fettle::storage {

/// ".partial-<pid>-<start>-<boot id>-<tag>": the name under which this process writes beside.
std::string partialName(const std::string& tag);
/// The process behind such a name; nothing for any other name.
std::optional<ProcessIdentity> partialOwner(const std::string& name);

/// Replaces `path` with `content`; readers see the old file or the new one. Throws StorageError;
/// nothing stays behind.
void writeFileDurably(const std::filesystem::path& path, std::string_view content);

/// Flushes every file below `folder`, then the folders themselves.
void syncTree(const std::filesystem::path& folder);
void syncFolder(const std::filesystem::path& folder);

struct TreeDigest {
    std::uint64_t bytes = 0;
    std::string hash;  ///< XXH3-128 in hexadecimal over names, sizes and contents, in the order of
                       ///< the names
};
/// Of one file or of a folder with everything in it. The name of the folder itself does not count.
TreeDigest digestTree(const std::filesystem::path& path);

}  // namespace fettle::storage
