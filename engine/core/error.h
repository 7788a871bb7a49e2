// The one exception of the engine. It ends a job, never the process, and becomes an ErrorInfo at
// the boundary.
#pragma once

#include <stdexcept>
#include <string>

#include "engine/experiment/job_values.h"

namespace fettle {

class EngineError : public std::runtime_error {
public:
    EngineError(ErrorKind kind, const std::string& message)
        : std::runtime_error(message), m_kind(kind) {}
    ErrorKind kind() const { return m_kind; }
    ErrorInfo info() const { return {m_kind, what()}; }

private:
    ErrorKind m_kind;
};

/// Thrown at a cancellation point; a cancelled job ends as "cancelled", not as "failed".
class Cancelled : public std::exception {
public:
    const char* what() const noexcept override { return "cancelled"; }
};

/// `path: cause`, as an error of a file the user gave.
[[noreturn]] void throwBadInput(const std::string& path, const std::string& cause);

}  // namespace fettle
