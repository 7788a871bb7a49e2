#include "kernels/cpu/isa.h"

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include "kernels/cpu/amx/permission.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace fettle::kernels {
namespace {

#if defined(__x86_64__)
struct Leaf {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Leaf leaf(unsigned number, unsigned sub = 0) {
    Leaf r;
    __get_cpuid_count(number, sub, &r.eax, &r.ebx, &r.ecx, &r.edx);
    return r;
}

/// The register states the operating system saves (XCR0).
std::uint64_t savedStates() {
    if (!(leaf(1).ecx >> 27 & 1))  // OSXSAVE
        return 0;
    std::uint32_t low = 0, high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return static_cast<std::uint64_t>(high) << 32 | low;
}

Isa detect() {
    constexpr std::uint64_t ymm = 0x6, zmm = 0xE6, tiles = 0x60000;
    const std::uint64_t states = savedStates();
    const Leaf one = leaf(1), seven = leaf(7);
    const auto bit = [](unsigned word, int index) { return (word >> index & 1u) != 0; };
    const bool avx2 = (states & ymm) == ymm && bit(one.ecx, 28) && bit(one.ecx, 12) /* fma */ &&
                      bit(one.ecx, 29) /* f16c */ && bit(seven.ebx, 5) &&
                      bit(seven.ebx, 8) /* bmi2 */;
    const bool avx512 = (states & zmm) == zmm && bit(seven.ebx, 16) /* f */ &&
                        bit(seven.ebx, 17) /* dq */ && bit(seven.ebx, 30) /* bw */ &&
                        bit(seven.ebx, 31) /* vl */ && bit(seven.ecx, 1) /* vbmi */ &&
                        bit(seven.ecx, 11) /* vnni */;
    const bool amx =
        (states & tiles) == tiles && bit(seven.edx, 24) /* tile */ && bit(seven.edx, 25) /* int8 */;
    // Some hypervisors announce tiles that do not work; a known product tells.
    if (avx2 && avx512 && amx && requestTiles() && amx::tilesMultiplyRight())
        return Isa::Amx;
    if (avx2 && avx512)
        return Isa::Avx512Vnni;
    return avx2 ? Isa::Avx2 : Isa::Baseline;
}
#else
Isa detect() {
    return Isa::Baseline;
}
#endif

/// The best level, or the lower one that FETTLE_ISA names.
Isa initial() {
    const Isa best = bestIsa();
    const char* wanted = std::getenv("FETTLE_ISA");
    if (!wanted || !*wanted)
        return best;
    const auto is = [wanted](const char* text) { return std::strcmp(wanted, text) == 0; };
    const Isa named = is("baseline") ? Isa::Baseline
                      : is("avx2")   ? Isa::Avx2
                      : is("avx512") ? Isa::Avx512Vnni
                                     : Isa::Amx;
    return named < best ? named : best;
}

std::atomic<Isa>& current() {
    static std::atomic<Isa> isa{initial()};
    return isa;
}

}  // namespace

Isa bestIsa() {
    static const Isa best = detect();
    return best;
}

Isa currentIsa() {
    return current().load(std::memory_order_relaxed);
}

void setIsa(Isa isa) {
    if (isa > bestIsa())
        throw std::invalid_argument(std::string("setIsa: this processor has no ") + name(isa));
    current().store(isa, std::memory_order_relaxed);
}

bool hasBf16Products() {
#if defined(__x86_64__)
    static const bool announced = leaf(7).eax >= 1 && (leaf(7, 1).eax >> 5 & 1u) != 0;
    return announced && currentIsa() >= Isa::Avx512Vnni;
#else
    return false;
#endif
}

bool hasBf16Tiles() {
#if defined(__x86_64__)
    if (!hasBf16Products() || currentIsa() != Isa::Amx)
        return false;
    static const bool right = (leaf(7).edx >> 22 & 1u) != 0 && amx_bf16::tilesMultiplyRight();
    return right;
#else
    return false;
#endif
}

const char* name(Isa isa) {
    switch (isa) {
        case Isa::Baseline:
            return "baseline";
        case Isa::Avx2:
            return "AVX2";
        case Isa::Avx512Vnni:
            return "AVX-512 VNNI";
        case Isa::Amx:
            return "AMX";
    }
    return "unknown";
}

std::string processorName() {
    std::ifstream info("/proc/cpuinfo");
    for (std::string line; std::getline(info, line);) {
        const auto colon = line.find(':');
        if (line.rfind("model name", 0) == 0 && colon != std::string::npos &&
            colon + 2 <= line.size())
            return line.substr(colon + 2);
    }
    return "unknown processor";
}

}  // namespace fettle::kernels
