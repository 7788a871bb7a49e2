// Which instruction set this process uses. Chosen once: the best the processor and the operating
// system offer, or a lower one named by the environment variable FETTLE_ISA (baseline, avx2,
// avx512, amx) for tests.
#pragma once

#include <string>

namespace fettle::kernels {

enum class Isa { Baseline, Avx2, Avx512Vnni, Amx };

Isa currentIsa();
Isa bestIsa();
/// Tests only: switches every kernel to `isa` (must not exceed bestIsa()).
void setIsa(Isa isa);
/// Products of bfloat16 pairs (AVX512_BF16), which come with some processors of the AVX-512 level.
/// False where a lower level was chosen.
bool hasBf16Products();
/// Those on AMX's tiles, many times as fast. False where a lower level was chosen.
bool hasBf16Tiles();
/// "AVX-512 VNNI"
const char* name(Isa isa);
/// Processor name as the operating system gives it.
std::string processorName();

}  // namespace fettle::kernels
