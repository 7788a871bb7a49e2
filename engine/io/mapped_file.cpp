#include "engine/io/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "engine/core/error.h"
#include "engine/io/mapping_guard.h"

namespace fettle {
namespace {

std::int64_t modifiedNs(const struct stat& info) {
    return static_cast<std::int64_t>(info.st_mtim.tv_sec) * 1'000'000'000 + info.st_mtim.tv_nsec;
}

std::string openFailure(int error) {
    switch (error) {
        case ENOENT:
            return "no such file";
        case ENOTDIR:
            return "no such file (a part of the path is not a folder)";
        case ELOOP:
            return "symbolic links go round in a circle";
        case EACCES:
        case EPERM:
            return "permission denied";
        default:
            return std::string("cannot be opened: ") + std::strerror(error);
    }
}

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::filesystem::path& path) {
    // O_NONBLOCK so that a pipe or device named as a model does not hang the job; regular files
    // ignore it.
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0)
        throwBadInput(path.string(), openFailure(errno));
    std::shared_ptr<MappedFile> file(new MappedFile);
    file->m_path = path;
    file->m_descriptor = descriptor;
    struct stat info = {};
    if (fstat(descriptor, &info) != 0)
        throwBadInput(path.string(), openFailure(errno));
    if (S_ISDIR(info.st_mode))
        throwBadInput(path.string(), "is a folder, not a file");
    if (!S_ISREG(info.st_mode))
        throwBadInput(path.string(), "is not a regular file");
    if (info.st_size == 0)
        throwBadInput(path.string(), "the file is empty");
    file->m_modifiedNs = modifiedNs(info);
    const auto size = static_cast<std::size_t>(info.st_size);
    void* data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (data == MAP_FAILED)
        throw EngineError(
            errno == ENOMEM ? ErrorKind::OutOfMemory : ErrorKind::BadInput,
            path.string() + ": cannot be mapped into memory: " + std::strerror(errno));
    file->m_data = static_cast<const std::byte*>(data);
    file->m_size = size;
    file->m_guard = detail::watchMapping(data, size);
    return file;
}

MappedFile::~MappedFile() {
    detail::unwatchMapping(m_guard);
    if (m_data)
        munmap(const_cast<std::byte*>(m_data), m_size);
    if (m_descriptor >= 0)
        ::close(m_descriptor);
}

void MappedFile::dropPages(std::size_t offset, std::size_t bytes) const {
    if (offset > m_size)
        return;
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t begin = (offset + page - 1) / page * page;
    const std::size_t end = (offset + std::min(bytes, m_size - offset)) / page * page;
    if (end > begin)
        madvise(const_cast<std::byte*>(m_data) + begin, end - begin, MADV_DONTNEED);
}

bool MappedFile::intact() const {
    struct stat info = {};
    return !detail::mappingDamaged(m_guard) && fstat(m_descriptor, &info) == 0 &&
           static_cast<std::size_t>(info.st_size) == m_size && modifiedNs(info) == m_modifiedNs;
}

}  // namespace fettle
