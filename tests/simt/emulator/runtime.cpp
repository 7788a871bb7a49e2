// kernels/cuda/runtime.h on the emulator. Copies are queued and done as late as the device may do
// them: before the next kernel, at an event, or when the host waits. What the host changes too
// early in its own memory is thus seen wrong, as on a GPU.
#include "kernels/cuda/runtime.h"

#include <cstring>
#include <map>
#include <new>

#include "tests/simt/emulator/emulator.h"
#include "tests/simt/emulator/faults.h"

namespace fettle::simt {

Faults& faults() {
    static Faults all;
    return all;
}

namespace {
std::map<void*, std::size_t>& allocations() {
    static std::map<void*, std::size_t> all;
    return all;
}
}  // namespace

std::size_t deviceBytes() {
    std::size_t sum = 0;
    for (const auto& [memory, bytes] : allocations())
        sum += bytes;
    return sum;
}

}  // namespace fettle::simt

namespace fettle::kernels::cuda {
namespace {

constexpr Status kDeviceLost = 719;  // cudaErrorLaunchFailure

void requireDevice(const void* memory, std::size_t bytes) {
    if (!simt::isDevice(memory) ||
        (bytes > 0 && !simt::isDevice(static_cast<const char*>(memory) + bytes)))
        throw simt::Finding(simt::Defect::HostPointer, "a copy leaves device memory");
}

}  // namespace

Status useDevice(int) {
    return kSuccess;
}
Status createStream(Stream* stream) {
    *stream = new char;
    return kSuccess;
}
void destroyStream(Stream stream) {
    simt::drain();
    delete static_cast<char*>(stream);
}
Status synchronize(Stream) {
    simt::drain();
    return simt::faults().lost ? kDeviceLost : kSuccess;
}

Status allocate(void** memory, std::size_t bytes) {
    if (simt::deviceBytes() + bytes > simt::faults().memoryBytes)
        return kOutOfMemory;
    *memory = simt::allocateDevice(bytes);
    simt::allocations()[*memory] = bytes;
    return kSuccess;
}
void release(void* memory) {
    simt::drain();
    simt::allocations().erase(memory);
    simt::freeDevice(memory);
}
Status allocatePinned(void** memory, std::size_t bytes) {
    *memory = ::operator new(bytes);
    std::memset(*memory, 0xff, bytes);
    return kSuccess;
}
void releasePinned(void* memory) {
    simt::drain();
    ::operator delete(memory);
}

Status copyToDevice(void* device, const void* host, std::size_t bytes, Stream) {
    requireDevice(device, bytes);
    simt::enqueue([=] { std::memcpy(device, host, bytes); });
    return kSuccess;
}
Status copyToHost(void* host, const void* device, std::size_t bytes, Stream) {
    requireDevice(device, bytes);
    simt::enqueue([=] { std::memcpy(host, device, bytes); });
    return kSuccess;
}
Status fill(void* device, unsigned char value, std::size_t bytes, Stream) {
    requireDevice(device, bytes);
    simt::enqueue([=] { std::memset(device, value, bytes); });
    return kSuccess;
}

Status createEvent(Event* event) {
    *event = new char;
    return kSuccess;
}
void destroyEvent(Event event) {
    delete static_cast<char*>(event);
}
Status record(Event, Stream) {
    return kSuccess;
}
Status waitFor(Event) {
    simt::drain();
    return simt::faults().lost ? kDeviceLost : kSuccess;
}

Status memoryInfo(MemoryInfo* info) {
    info->total = simt::faults().memoryBytes;
    info->free = info->total - simt::deviceBytes();
    return kSuccess;
}

const char* errorText(Status status) {
    return status == kDeviceLost ? "unspecified launch failure" : "emulated error";
}

}  // namespace fettle::kernels::cuda
