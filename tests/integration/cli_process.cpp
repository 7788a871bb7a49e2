#include "tests/integration/cli_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>
#include <thread>

namespace fettle::test {

namespace fs = std::filesystem;

nlohmann::json CliResult::json() const {
    const nlohmann::json document = nlohmann::json::parse(out, nullptr, false);
    EXPECT_FALSE(document.is_discarded()) << "not one JSON document: " << out << "\n" << err;
    return document.is_discarded() ? nlohmann::json() : document;
}

int CliResult::errorLines() const {
    std::istringstream lines(err);
    std::string line;
    int count = 0;
    while (std::getline(lines, line))
        count += line.rfind("fettle-cli: ", 0) == 0;
    return count;
}

CliProcess::CliProcess(const std::vector<std::string>& arguments, const fs::path& home,
                       const std::string& input) {
    static std::atomic<int> counter{0};
    const std::string number = std::to_string(++counter);
    m_out = home / ("stdout-" + number);
    m_err = home / ("stderr-" + number);
    const fs::path in = home / ("stdin-" + number);
    std::ofstream(in, std::ios::binary) << input;
    std::vector<std::string> words{FETTLE_CLI};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& word : words)
        argv.push_back(word.data());
    argv.push_back(nullptr);
    const std::string environment = "FETTLE_HOME=" + home.string();
    m_start = std::chrono::steady_clock::now();
    m_pid = fork();
    if (m_pid != 0)
        return;
    const auto redirect = [](const fs::path& file, int flags, int to) {
        const int from = open(file.c_str(), flags, 0600);
        if (from < 0 || dup2(from, to) < 0)
            _exit(126);
    };
    redirect(in, O_RDONLY, STDIN_FILENO);
    redirect(m_out, O_WRONLY | O_CREAT | O_TRUNC, STDOUT_FILENO);
    redirect(m_err, O_WRONLY | O_CREAT | O_TRUNC, STDERR_FILENO);
    putenv(const_cast<char*>(environment.c_str()));
    setenv("FETTLE_RESOURCES", FETTLE_RESOURCES_DIR, 1);
    execv(argv[0], argv.data());
    _exit(127);
}

CliProcess::~CliProcess() {
    if (!m_ended && m_pid > 0) {
        kill(m_pid, SIGKILL);
        waitpid(m_pid, &m_status, 0);
    }
}

void CliProcess::signal(int number) const {
    kill(m_pid, number);
}

std::string CliProcess::read(const fs::path& file) const {
    std::ifstream stream(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
}

bool CliProcess::ended() {
    if (!m_ended)
        m_ended = waitpid(m_pid, &m_status, WNOHANG) == m_pid;
    return m_ended;
}

bool CliProcess::waitForError(const std::string& text, double seconds) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    while (std::chrono::steady_clock::now() < until) {
        if (read(m_err).find(text) != std::string::npos)
            return true;
        if (ended())
            return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
}

CliResult CliProcess::wait() {
    if (!m_ended) {
        waitpid(m_pid, &m_status, 0);
        m_ended = true;
    }
    CliResult result;
    result.seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - m_start).count();
    result.exitCode = WIFEXITED(m_status) ? WEXITSTATUS(m_status) : 128 + WTERMSIG(m_status);
    result.out = read(m_out);
    result.err = read(m_err);
    return result;
}

CliHome::CliHome() {
    std::string name = (fs::temp_directory_path() / "fettle-cli-test-XXXXXX").string();
    m_path = mkdtemp(name.data());
}

CliHome::~CliHome() {
    std::error_code ignored;
    fs::remove_all(m_path, ignored);
}

std::string CliHome::write(const std::string& name, const std::string& text) const {
    const fs::path path = m_path / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
    return path.string();
}

CliResult CliHome::run(const std::vector<std::string>& arguments, const std::string& input) const {
    return CliProcess(arguments, m_path, input).wait();
}

bool haveDemoModel() {
    return fs::exists(fs::path(FETTLE_RESOURCES_DIR) / "demo" / "teacher" / "model.safetensors");
}

}  // namespace fettle::test
