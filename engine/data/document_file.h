// A text on disk as documents that can be read in any order: the lines of a JSON-lines file, or
// pieces of a plain text, cut at blank lines. The file stays on disk; eight bytes per document are
// held.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/core/run_control.h"

namespace fettle {

class MappedFile;

class DocumentFile {
public:
    /// A file ending in .jsonl or .ndjson has one object with a string "text" in each line.
    /// Otherwise the file is one text, cut into pieces of about `pieceBytes`, and into some tens of
    /// them where it is short. Reads the file once, so that a broken line is an error now and not
    /// after hours. Throws EngineError(BadInput) naming the file, the line or byte, and the cause.
    DocumentFile(const std::filesystem::path& path, std::uint64_t pieceBytes, RunControl& control);

    std::int64_t count() const { return static_cast<std::int64_t>(m_begins.size()) - 1; }
    /// Bytes of a document as it lies in the file.
    std::uint64_t bytes(std::int64_t document) const;
    /// Throws EngineError(BadInput) once the file has changed on disk.
    std::string text(std::int64_t document) const;
    /// Documents of their own rather than pieces of one text.
    bool separate() const { return m_lines; }
    std::string path() const { return m_path.string(); }
    /// Hash of the content.
    const std::string& hash() const { return m_hash; }

private:
    void cutText(std::uint64_t pieceBytes, RunControl& control);
    void findLines(RunControl& control);

    std::filesystem::path m_path;
    std::shared_ptr<const MappedFile> m_file;
    std::vector<std::uint64_t> m_begins;  ///< and the end of the last
    bool m_lines = false;
    std::string m_hash;
};

}  // namespace fettle
