// kernels/cuda/runtime.h on the emulator. Copies are queued and done as late as the device may do
// them: before the next kernel, at an event, or when the host waits. What the host changes too
// early in its own memory is thus seen wrong, as on a GPU.
#include "kernels/cuda/runtime.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <utility>
#include <vector>

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

std::size_t deviceBytes(int device) {
    std::size_t sum = 0;
    for (const auto& [memory, bytes] : allocations())
        sum += device < 0 || deviceOf(memory) == device ? bytes : 0;
    return sum;
}

}  // namespace fettle::simt

namespace fettle::kernels::cuda {
namespace {

constexpr Status kDeviceLost = 719;    // cudaErrorLaunchFailure
constexpr Status kNotSupported = 801;  // cudaErrorNotSupported
constexpr Status kNoDevice = 101;      // cudaErrorInvalidDevice

std::size_t memoryOf(int device) {
    return device == 0 ? simt::faults().memoryBytes : simt::faults().secondBytes;
}

/// A launch with arguments of its own, as a graph keeps them.
class KeptCall {
public:
    explicit KeptCall(const KernelCall& call) : m_call(call) {
        for (std::size_t i = 0; i < call.count; ++i) {
            m_values.emplace_back(static_cast<std::byte*>(::operator new(call.sizes[i])));
            std::memcpy(m_values.back().get(), call.arguments[i], call.sizes[i]);
            m_pointers.push_back(m_values.back().get());
        }
    }
    Status run(Stream stream) const {
        KernelCall call = m_call;
        call.arguments = m_pointers.data();
        return call.run(call, stream);
    }

private:
    struct Release {
        void operator()(std::byte* memory) const { ::operator delete(memory); }
    };
    KernelCall m_call;
    std::vector<std::unique_ptr<std::byte, Release>> m_values;
    std::vector<void*> m_pointers;
};
using Calls = std::vector<KeptCall>;

/// Copies beside kernels are queued here and done when somebody waits for them, not before.
struct EmulatedStream {
    bool copies = false;
    int device = simt::currentDevice();
    std::vector<std::function<void()>> work;
    std::uint64_t workWaitedFor = 0;

    void drain() {
        for (const std::function<void()>& each : std::exchange(work, {}))
            each();
    }
};
struct EmulatedEvent {
    EmulatedStream* stream = nullptr;  // null: never recorded
    std::uint64_t work = 0;            // before it
};

EmulatedStream* streamOf(Stream stream) {
    return static_cast<EmulatedStream*>(stream);
}

void enqueue(Stream stream, std::function<void()> work) {
    EmulatedStream* const at = streamOf(stream);
    if (at && at->copies)
        at->work.push_back(std::move(work));
    else
        simt::enqueue(std::move(work), at ? at->device : simt::currentDevice());
}

/// A copy stream's write must come after the kernels that were given the memory.
void requireWaited(const void* memory, Stream stream) {
    const EmulatedStream* const at = streamOf(stream);
    if (at && at->copies && simt::lastWorkWith(memory) > at->workWaitedFor)
        throw simt::Finding(simt::Defect::Race,
                            "a copy overwrites memory that a kernel of another stream may still "
                            "read");
}

void requireDevice(const void* memory, std::size_t bytes, Stream stream) {
    if (stream && simt::deviceOf(memory) != streamOf(stream)->device)
        throw simt::Finding(simt::Defect::HostPointer, "a stream copies another device's memory");
    if (!simt::isDevice(memory) ||
        (bytes > 0 && !simt::isDevice(static_cast<const char*>(memory) + bytes)))
        throw simt::Finding(simt::Defect::HostPointer, "a copy leaves device memory");
}

}  // namespace

Status useDevice(int device) {
    if (device < 0 || device >= simt::kDevices)
        return kNoDevice;
    simt::currentDevice() = device;
    return kSuccess;
}
Status createStream(Stream* stream) {
    *stream = new EmulatedStream;
    return kSuccess;
}
Status createCopyStream(Stream* stream) {
    auto* const made = new EmulatedStream;
    made->copies = true;
    *stream = made;
    return kSuccess;
}
void destroyStream(Stream stream) {
    simt::drain();
    streamOf(stream)->drain();
    delete streamOf(stream);
}
Status synchronize(Stream stream) {
    simt::drain();
    if (stream)
        streamOf(stream)->drain();
    return simt::faults().lost ? kDeviceLost : kSuccess;
}

Status allocate(void** memory, std::size_t bytes) {
    const int device = simt::currentDevice();
    const std::size_t taken = device == 0 ? simt::faults().takenBytes : 0;
    if (simt::deviceBytes(device) + bytes + taken > memoryOf(device))
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

Status copyToDevice(void* device, const void* host, std::size_t bytes, Stream stream) {
    requireDevice(device, bytes, stream);
    requireWaited(device, stream);
    enqueue(stream, [=] { std::memcpy(device, host, bytes); });
    return kSuccess;
}
Status copyToHost(void* host, const void* device, std::size_t bytes, Stream stream) {
    requireDevice(device, bytes, stream);
    enqueue(stream, [=] { std::memcpy(host, device, bytes); });
    return kSuccess;
}
Status copyBetween(void* to, int toDevice, const void* from, int fromDevice, std::size_t bytes,
                   Stream stream) {
    requireDevice(to, bytes, stream);
    if (simt::deviceOf(to) != toDevice || simt::deviceOf(from) != fromDevice)
        throw simt::Finding(simt::Defect::HostPointer, "a copy names the wrong device");
    if (simt::lastWorkWith(from) > streamOf(stream)->workWaitedFor)
        throw simt::Finding(simt::Defect::Race,
                            "a copy reads memory that a kernel of another device may still write");
    enqueue(stream, [=] { std::memcpy(to, from, bytes); });
    return kSuccess;
}
Status fill(void* device, unsigned char value, std::size_t bytes, Stream stream) {
    requireDevice(device, bytes, stream);
    enqueue(stream, [=] { std::memset(device, value, bytes); });
    return kSuccess;
}

Status createEvent(Event* event) {
    *event = new EmulatedEvent;
    return kSuccess;
}
void destroyEvent(Event event) {
    delete static_cast<EmulatedEvent*>(event);
}
Status record(Event event, Stream stream) {
    *static_cast<EmulatedEvent*>(event) = {streamOf(stream), simt::counters().work};
    return kSuccess;
}
Status waitFor(Event event) {
    simt::drain();
    if (EmulatedStream* const stream = static_cast<EmulatedEvent*>(event)->stream)
        stream->drain();
    return simt::faults().lost ? kDeviceLost : kSuccess;
}
Status streamWaits(Stream stream, Event event) {
    const EmulatedEvent& before = *static_cast<EmulatedEvent*>(event);
    if (!before.stream || simt::faults().noWaits)
        return kSuccess;
    EmulatedStream* const waiting = streamOf(stream);
    if (before.stream->device != waiting->device) {
        // Its queue is done at the latest moment: when somebody waits for it.
        simt::drain(before.stream->device);
        waiting->workWaitedFor = std::max(waiting->workWaitedFor, before.work);
    } else if (before.stream->copies) {
        before.stream->drain();
    } else if (waiting->copies) {
        waiting->work.emplace_back([] { simt::drain(); });
        waiting->workWaitedFor = std::max(waiting->workWaitedFor, before.work);
    }
    return kSuccess;
}

Status createGraph(Graph* graph, const KernelCall* calls, std::size_t count) {
    if (simt::faults().noGraphs)
        return kNotSupported;
    *graph = new Calls(calls, calls + count);
    return kSuccess;
}
Status setGraphCall(Graph graph, std::size_t number, const KernelCall& call) {
    if (!simt::faults().staleGraphs)
        static_cast<Calls*>(graph)->at(number) = KeptCall(call);
    return kSuccess;
}
Status launchGraph(Graph graph, Stream stream) {
    ++simt::counters().graphs;
    for (const KeptCall& call : *static_cast<Calls*>(graph))
        if (const Status status = call.run(stream); status != kSuccess)
            return status;
    return kSuccess;
}
void destroyGraph(Graph graph) {
    simt::drain();
    delete static_cast<Calls*>(graph);
}

Status memoryInfo(MemoryInfo* info) {
    const int device = simt::currentDevice();
    info->total = memoryOf(device);
    info->free = info->total - simt::deviceBytes(device);
    return kSuccess;
}

const char* errorText(Status status) {
    if (status == kNotSupported)
        return "operation not supported";
    return status == kDeviceLost ? "unspecified launch failure" : "emulated error";
}

}  // namespace fettle::kernels::cuda
