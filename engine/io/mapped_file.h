// A whole file mapped read-only. Shared by everything that points into it; immutable, so any thread
// may read it.
//
// A file that shrinks while it is mapped would end the process with SIGBUS on the next access. Here
// the vanished pages read as zeros instead and damaged() says so; work that has read a model asks
// intact() before it trusts its result.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>

namespace fettle {

class MappedFile {
public:
    /// Throws EngineError(BadInput) naming the file: absent, unreadable, a folder or device, empty.
    static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);
    ~MappedFile();
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;

    const std::filesystem::path& path() const { return m_path; }
    std::span<const std::byte> bytes() const { return {m_data, m_size}; }
    std::string_view text() const { return {reinterpret_cast<const char*>(m_data), m_size}; }
    std::size_t size() const { return m_size; }

    /// Gives back the resident pages that lie wholly inside the range.
    void dropPages(std::size_t offset, std::size_t bytes) const;
    /// False once the file on disk has another size or modification time than when it was opened,
    /// or lost pages.
    bool intact() const;

private:
    MappedFile() = default;

    std::filesystem::path m_path;
    const std::byte* m_data = nullptr;
    std::size_t m_size = 0;
    std::int64_t m_modifiedNs = 0;
    int m_descriptor = -1;
    int m_guard = -1;
};

}  // namespace fettle
