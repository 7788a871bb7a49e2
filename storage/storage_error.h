// What goes wrong with the database or the artifact store: the message names the file and the
// cause.
#pragma once

#include <stdexcept>
#include <string>

namespace fettle::storage {

enum class StorageCause { ReadOnly, Full, Busy, Corrupt, Missing, Permission, Conflict, Other };

class StorageError : public std::runtime_error {
public:
    /// what(): "path: cause".
    StorageError(const std::string& path, const std::string& text,
                 StorageCause cause = StorageCause::Other)
        : std::runtime_error(path + ": " + text), m_path(path), m_cause(cause) {}

    const std::string& path() const { return m_path; }
    StorageCause cause() const { return m_cause; }

private:
    std::string m_path;
    StorageCause m_cause;
};

/// `path: doing what: text of errno`, with the cause that errno stands for.
[[noreturn]] void throwErrno(const std::string& path, const std::string& action, int error);

}  // namespace fettle::storage
