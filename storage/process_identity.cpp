#include "storage/process_identity.h"

#include <unistd.h>

#include <cctype>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>

namespace fettle::storage {
namespace {

struct Stat {
    char state = 0;
    std::int64_t start = 0;
};

/// Fields 3 and 22 of /proc/<pid>/stat; field 2, the program's name, may hold blanks and brackets.
std::optional<Stat> statOf(std::int64_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const std::size_t nameEnd = text.rfind(')');
    if (nameEnd == std::string::npos)
        return std::nullopt;
    std::istringstream fields(text.substr(nameEnd + 1));
    Stat result;
    fields >> result.state;
    std::string skipped;
    for (int field = 4; field < 22; ++field)
        fields >> skipped;
    fields >> result.start;
    return fields ? std::optional(result) : std::nullopt;
}

std::string bootId() {
    std::ifstream file("/proc/sys/kernel/random/boot_id");
    std::string text;
    file >> text;
    return text;
}

}  // namespace

bool ProcessIdentity::alive() const {
    if (pid <= 0 || boot != bootId())
        return false;
    const std::optional<Stat> now = statOf(pid);
    return now && now->start == start && now->state != 'Z' && now->state != 'X';
}

ProcessIdentity thisProcess() {
    const std::int64_t pid = ::getpid();
    const std::optional<Stat> now = statOf(pid);
    return {pid, now ? now->start : 0, bootId()};
}

}  // namespace fettle::storage
