#include "engine/io/staged_output.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "engine/core/error.h"
#include "engine/experiment/measurement.h"

namespace fettle {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBuffer = std::size_t{1} << 20;

[[noreturn]] void fail(const fs::path& path, const std::string& what, int error) {
    const std::string cause =
        error == ENOSPC || error == EDQUOT ? "the disk is full" : std::strerror(error);
    throw EngineError(ErrorKind::Io, path.string() + ": " + what + ": " + cause);
}

void syncFolder(const fs::path& folder) {
    const int descriptor =
        ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0)
        return;  // the names may be lost in a crash then, the files' contents are not
    fsync(descriptor);
    ::close(descriptor);
}

/// True for an empty folder and for one that looks like a model: a config.json and nothing but
/// files, and perhaps a draft of the same kind.
bool mayReplace(const fs::path& folder) {
    bool any = false, config = false;
    for (const auto& entry : fs::directory_iterator(folder)) {
        any = true;
        config = config || entry.path().filename() == "config.json";
        if (entry.is_directory() &&
            (entry.path().filename() != "draft" || !mayReplace(entry.path())))
            return false;
    }
    return !any || config;
}

fs::path besideName(const fs::path& target, const char* purpose) {
    static std::atomic<unsigned> counter{0};
    std::string name = ".";
    name.append(target.filename().string()).append(".").append(purpose);
    name.append("-").append(std::to_string(getpid())).append("-").append(std::to_string(++counter));
    return target.parent_path() / name;
}

}  // namespace

FileWriter::FileWriter(const fs::path& path) : m_path(path) {
    m_buffer.reserve(kBuffer);
    m_descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (m_descriptor < 0)
        fail(path, "cannot be created", errno);
}

FileWriter::~FileWriter() {
    if (m_descriptor >= 0)
        ::close(m_descriptor);
}

void FileWriter::writeOut(const std::byte* data, std::size_t bytes) {
    while (bytes > 0) {
        const ssize_t written = ::write(m_descriptor, data, bytes);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            fail(m_path, "cannot be written", errno);
        data += written;
        bytes -= static_cast<std::size_t>(written);
    }
}

void FileWriter::flush() {
    writeOut(m_buffer.data(), m_buffer.size());
    m_buffer.clear();
}

void FileWriter::write(const void* data, std::size_t bytes) {
    m_position += bytes;
    const auto* begin = static_cast<const std::byte*>(data);
    if (m_buffer.size() + bytes > kBuffer)
        flush();
    if (bytes >= kBuffer)
        writeOut(begin, bytes);
    else
        m_buffer.insert(m_buffer.end(), begin, begin + bytes);
}

void FileWriter::pad(std::size_t alignment) {
    static constexpr std::byte kZeros[64] = {};
    for (std::size_t left = (alignment - m_position % alignment) % alignment; left > 0;) {
        const std::size_t step = std::min(left, sizeof kZeros);
        write(kZeros, step);
        left -= step;
    }
}

void FileWriter::finish() {
    flush();
    if (fsync(m_descriptor) != 0)
        fail(m_path, "cannot be written", errno);
    const int closed = ::close(m_descriptor);
    m_descriptor = -1;
    if (closed != 0)
        fail(m_path, "cannot be written", errno);
}

StagedOutput::StagedOutput(fs::path target, Kind kind, std::uint64_t bytes)
    : m_target(std::move(target)), m_kind(kind) {
    if (m_target.filename().empty())
        m_target = m_target.parent_path();
    if (m_target.empty())
        throw EngineError(ErrorKind::Usage, "the path to write to is empty");
    std::error_code error;
    const fs::file_status status = fs::status(m_target, error);
    if (kind == Kind::File && fs::is_directory(status))
        throw EngineError(ErrorKind::Usage, m_target.string() + ": is a folder; name a file");
    if (kind == Kind::Folder && fs::exists(status)) {
        if (!fs::is_directory(status))
            throw EngineError(ErrorKind::Usage, m_target.string() + ": is a file; name a folder");
        if (!mayReplace(m_target))
            throw EngineError(
                ErrorKind::Usage,
                m_target.string() +
                    ": the folder exists and is no model folder; it is left as it is");
    }
    const fs::path parent = m_target.has_parent_path() ? m_target.parent_path() : fs::path(".");
    fs::create_directories(parent, error);
    if (error)
        fail(parent, "cannot be created", error.value());
    const fs::space_info space = fs::space(parent, error);
    if (!error && space.available < bytes)
        throw EngineError(
            ErrorKind::Io,
            m_target.string() + ": the disk is full: " + formatBytes(static_cast<double>(bytes)) +
                " are needed, " + formatBytes(static_cast<double>(space.available)) + " are free");
    m_staging = besideName(m_target, "partial");
    if (kind == Kind::Folder && !fs::create_directory(m_staging, error))
        fail(m_staging, "cannot be created", error.value());
}

StagedOutput::~StagedOutput() {
    std::error_code ignored;
    if (!m_committed)
        fs::remove_all(m_staging, ignored);
}

void StagedOutput::commit() {
    if (m_kind == Kind::Folder)
        syncFolder(m_staging);
    const bool replaces = m_kind == Kind::Folder && fs::exists(m_target);
    // Two folders change places in one step, so that the target is never absent; file systems that
    // cannot do so get two.
    if (replaces &&
        renameat2(AT_FDCWD, m_staging.c_str(), AT_FDCWD, m_target.c_str(), RENAME_EXCHANGE) == 0) {
        std::error_code ignored;
        fs::remove_all(m_staging, ignored);
    } else {
        const fs::path old = besideName(m_target, "old");
        if (replaces && ::rename(m_target.c_str(), old.c_str()) != 0)
            fail(m_target, "cannot be replaced", errno);
        if (::rename(m_staging.c_str(), m_target.c_str()) != 0) {
            const int error = errno;
            if (replaces)
                ::rename(old.c_str(), m_target.c_str());
            fail(m_target, "cannot be put in place", error);
        }
        std::error_code ignored;
        if (replaces)
            fs::remove_all(old, ignored);
    }
    m_committed = true;
    syncFolder(m_target.parent_path());
}

}  // namespace fettle
