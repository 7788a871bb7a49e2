// Runs fettle-cli as a user would: a process with its own home, its output and exit code caught.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace fettle::test {

struct CliResult {
    int exitCode = -1;  ///< 128 + signal where one ended it
    std::string out;
    std::string err;
    double seconds = 0;

    /// The one document on standard output; fails the test and gives null where it is none.
    nlohmann::json json() const;
    /// Number of lines on standard error that start with "fettle-cli: ".
    int errorLines() const;
};

/// A program that runs; ended by wait() or by the destructor.
class CliProcess {
public:
    CliProcess(const std::vector<std::string>& arguments, const std::filesystem::path& home,
               const std::string& input = {});
    ~CliProcess();
    CliProcess(const CliProcess&) = delete;
    CliProcess& operator=(const CliProcess&) = delete;

    void signal(int number) const;
    /// Waits until standard error holds `text`; false when it ends or `seconds` pass before.
    bool waitForError(const std::string& text, double seconds);
    CliResult wait();

private:
    std::string read(const std::filesystem::path& file) const;
    bool ended();

    std::filesystem::path m_out;
    std::filesystem::path m_err;
    pid_t m_pid = -1;
    int m_status = 0;
    bool m_ended = false;
    std::chrono::steady_clock::time_point m_start;
};

/// A folder of its own that goes away with the test; also $FETTLE_HOME of the programs it starts.
class CliHome {
public:
    CliHome();
    ~CliHome();
    CliHome(const CliHome&) = delete;
    CliHome& operator=(const CliHome&) = delete;

    const std::filesystem::path& path() const { return m_path; }
    std::string file(const std::string& name) const { return (m_path / name).string(); }
    std::string write(const std::string& name, const std::string& text) const;
    CliResult run(const std::vector<std::string>& arguments, const std::string& input = {}) const;

private:
    std::filesystem::path m_path;
};

/// The bundled model is there (it is made by a script and may be missing in a bare checkout).
bool haveDemoModel();

}  // namespace fettle::test
