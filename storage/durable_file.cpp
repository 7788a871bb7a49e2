#include "storage/durable_file.h"

#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <sstream>
#include <vector>

namespace fettle::storage {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kReadBytes = 1 << 20;
constexpr std::string_view kPartial = ".partial-";

class File {
public:
    File(const fs::path& path, int flags, const char* action)
        : m_path(path), m_fd(::open(path.c_str(), flags | O_CLOEXEC, 0644)) {
        if (m_fd < 0)
            throwErrno(path.string(), action, errno);
    }
    ~File() {
        if (m_fd >= 0)
            ::close(m_fd);
    }
    File(const File&) = delete;
    File& operator=(const File&) = delete;

    void write(std::string_view content) {
        while (!content.empty()) {
            const ssize_t written = ::write(m_fd, content.data(), content.size());
            if (written < 0 && errno == EINTR)
                continue;
            if (written < 0)
                throwErrno(m_path.string(), "write", errno);
            content.remove_prefix(static_cast<std::size_t>(written));
        }
    }
    std::size_t read(void* target, std::size_t bytes) {
        ssize_t got = 0;
        do
            got = ::read(m_fd, target, bytes);
        while (got < 0 && errno == EINTR);
        if (got < 0)
            throwErrno(m_path.string(), "read", errno);
        return static_cast<std::size_t>(got);
    }
    void sync() {
        if (::fsync(m_fd) != 0)
            throwErrno(m_path.string(), "flush", errno);
    }

private:
    fs::path m_path;
    int m_fd;
};

struct HashStateFree {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};
using HashState = std::unique_ptr<XXH3_state_t, HashStateFree>;

std::string hexOf(XXH128_hash_t hash) {
    XXH128_canonical_t bytes;
    XXH128_canonicalFromHash(&bytes, hash);
    std::string hex;
    for (const unsigned char byte : bytes.digest) {
        hex += "0123456789abcdef"[byte >> 4];
        hex += "0123456789abcdef"[byte & 15];
    }
    return hex;
}

std::uint64_t addFile(XXH3_state_t* state, const fs::path& path, std::vector<char>& buffer) {
    File file(path, O_RDONLY, "read");
    std::uint64_t bytes = 0;
    while (const std::size_t got = file.read(buffer.data(), buffer.size())) {
        XXH3_128bits_update(state, buffer.data(), got);
        bytes += got;
    }
    return bytes;
}

std::vector<fs::path> filesBelow(const fs::path& folder) {
    std::vector<fs::path> files;
    std::error_code failed;
    fs::recursive_directory_iterator entry(folder, failed);
    for (; !failed && entry != fs::recursive_directory_iterator(); entry.increment(failed)) {
        if (entry->is_regular_file())
            files.push_back(entry->path());
    }
    if (failed)
        throwErrno(folder.string(), "read the folder", failed.value());
    std::sort(files.begin(), files.end());
    return files;
}

}  // namespace

std::string partialName(const std::string& tag) {
    const ProcessIdentity owner = thisProcess();
    std::ostringstream name;
    name << kPartial << owner.pid << '-' << owner.start << '-' << owner.boot << '-' << tag;
    return name.str();
}

std::optional<ProcessIdentity> partialOwner(const std::string& name) {
    constexpr std::size_t kBootIdLength = 36;
    if (name.rfind(kPartial, 0) != 0)
        return std::nullopt;
    std::istringstream text(name.substr(kPartial.size()));
    ProcessIdentity owner;
    char first = 0;
    char second = 0;
    std::string rest;
    text >> owner.pid >> first >> owner.start >> second >> rest;
    if (!text || first != '-' || second != '-' || rest.size() <= kBootIdLength ||
        rest[kBootIdLength] != '-')
        return std::nullopt;
    owner.boot = rest.substr(0, kBootIdLength);
    return owner;
}

void writeFileDurably(const fs::path& path, std::string_view content) {
    const fs::path beside = path.parent_path() / partialName(path.filename().string());
    try {
        {
            File file(beside, O_WRONLY | O_CREAT | O_TRUNC, "write");
            file.write(content);
            file.sync();
        }
        if (std::rename(beside.c_str(), path.c_str()) != 0)
            throwErrno(path.string(), "put the file in place", errno);
    } catch (const StorageError&) {
        ::unlink(beside.c_str());
        throw;
    }
    syncFolder(path.has_parent_path() ? path.parent_path() : fs::path("."));
}

void syncFolder(const fs::path& folder) {
    File(folder, O_RDONLY | O_DIRECTORY, "open the folder").sync();
}

void syncTree(const fs::path& folder) {
    std::error_code failed;
    std::vector<fs::path> folders{folder};
    for (fs::recursive_directory_iterator entry(folder, failed);
         !failed && entry != fs::recursive_directory_iterator(); entry.increment(failed)) {
        if (entry->is_directory())
            folders.push_back(entry->path());
        else if (entry->is_regular_file())
            File(entry->path(), O_RDONLY, "open").sync();
    }
    if (failed)
        throwErrno(folder.string(), "read the folder", failed.value());
    // Inner folders first: a name is flushed only once what it names is.
    for (auto inner = folders.rbegin(); inner != folders.rend(); ++inner)
        syncFolder(*inner);
}

TreeDigest digestTree(const fs::path& path) {
    const HashState state(XXH3_createState());
    XXH3_128bits_reset(state.get());
    std::vector<char> buffer(kReadBytes);
    TreeDigest result;
    if (!fs::is_directory(path)) {
        result.bytes = addFile(state.get(), path, buffer);
    } else {
        for (const fs::path& file : filesBelow(path)) {
            const std::string name = file.lexically_relative(path).generic_string();
            XXH3_128bits_update(state.get(), name.data(), name.size() + 1);
            const std::uint64_t bytes = addFile(state.get(), file, buffer);
            XXH3_128bits_update(state.get(), &bytes, sizeof bytes);
            result.bytes += bytes;
        }
    }
    result.hash = hexOf(XXH3_128bits_digest(state.get()));
    return result;
}

}  // namespace fettle::storage
