// Files that appear whole or not at all: written beside the target, fsynced, renamed. Errors of the
// disk are EngineError(Io) with the path.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

namespace fettle {

/// A new file, written through a buffer.
class FileWriter {
public:
    explicit FileWriter(const std::filesystem::path& path);
    ~FileWriter();
    FileWriter(const FileWriter&) = delete;
    FileWriter& operator=(const FileWriter&) = delete;

    void write(const void* data, std::size_t bytes);
    void write(std::string_view text) { write(text.data(), text.size()); }
    /// Zeros up to a multiple of `alignment`, counted from the file's start.
    void pad(std::size_t alignment);
    std::uint64_t position() const { return m_position; }
    /// Flushes, fsyncs, closes. A writer that is destroyed unfinished leaves its file as it is.
    void finish();

private:
    void flush();
    void writeOut(const std::byte* data, std::size_t bytes);

    std::filesystem::path m_path;
    std::vector<std::byte> m_buffer;
    std::uint64_t m_position = 0;
    int m_descriptor = -1;
};

/// The place beside `target` to write to. Destroyed without commit(), it takes what was written
/// away again.
class StagedOutput {
public:
    enum class Kind { File, Folder };
    /// `bytes`: what will be written; refused at once where the disk has less. A folder that holds
    /// something else than a model is never replaced.
    StagedOutput(std::filesystem::path target, Kind kind, std::uint64_t bytes);
    ~StagedOutput();
    StagedOutput(const StagedOutput&) = delete;
    StagedOutput& operator=(const StagedOutput&) = delete;

    const std::filesystem::path& path() const { return m_staging; }
    /// fsyncs and puts the target in place of what was there.
    void commit();

private:
    std::filesystem::path m_target;
    std::filesystem::path m_staging;
    Kind m_kind;
    bool m_committed = false;
};

}  // namespace fettle
