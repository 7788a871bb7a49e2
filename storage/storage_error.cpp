#include "storage/storage_error.h"

#include <cerrno>
#include <system_error>

namespace fettle::storage {
namespace {

StorageCause causeOf(int error) {
    switch (error) {
        case ENOSPC:
        case EDQUOT:
        case EFBIG:
            return StorageCause::Full;
        case EROFS:
            return StorageCause::ReadOnly;
        case EACCES:
        case EPERM:
            return StorageCause::Permission;
        case ENOENT:
        case ENOTDIR:
            return StorageCause::Missing;
        default:
            return StorageCause::Other;
    }
}

}  // namespace

void throwErrno(const std::string& path, const std::string& action, int error) {
    std::string text = "cannot " + action + ": " + std::generic_category().message(error);
    throw StorageError(path, text, causeOf(error));
}

}  // namespace fettle::storage
