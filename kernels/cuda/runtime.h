// What the host needs of a CUDA device beside kernels: memory, copies, a stream, events. No CUDA
// headers here: kernels/cuda/runtime holds the implementation on CUDA's runtime library, which
// looks libcuda up when first used, tests/simt that of the emulator. Memory, streams and events
// belong to the device that is the calling thread's when they are made.
#pragma once

#include <cstddef>

#include "kernels/cuda/launch.h"

namespace fettle::kernels::cuda {

/// Makes `device` the calling thread's, which starts it.
Status useDevice(int device);
Status createStream(Stream* stream);
/// For copies that run beside the kernels of another stream.
Status createCopyStream(Stream* stream);
void destroyStream(Stream stream);
/// Waits for what is queued; errors of kernels come out here.
Status synchronize(Stream stream);

/// Device memory, aligned to 256 bytes. The text of kOutOfMemory says that there is none left.
Status allocate(void** memory, std::size_t bytes);
void release(void* memory);
/// Host memory that the device copies from and to while the host goes on.
Status allocatePinned(void** memory, std::size_t bytes);
void releasePinned(void* memory);

Status copyToDevice(void* device, const void* host, std::size_t bytes, Stream stream);
Status copyToHost(void* host, const void* device, std::size_t bytes, Stream stream);
/// From one device's memory to another's, which may be the same.
Status copyBetween(void* to, int toDevice, const void* from, int fromDevice, std::size_t bytes,
                   Stream stream);
Status fill(void* device, unsigned char value, std::size_t bytes, Stream stream);

using Event = void*;
Status createEvent(Event* event);
void destroyEvent(Event event);
Status record(Event event, Stream stream);
Status waitFor(Event event);
/// What is queued on `stream` from here on waits for what was queued before the event.
Status streamWaits(Stream stream, Event event);

/// Launches one after the other that the device runs as one.
using Graph = void*;
Status createGraph(Graph* graph, const KernelCall* calls, std::size_t count);
/// Another grid or other arguments for launch `number`; what already waits on a stream keeps its
/// own.
Status setGraphCall(Graph graph, std::size_t number, const KernelCall& call);
Status launchGraph(Graph graph, Stream stream);
void destroyGraph(Graph graph);

struct MemoryInfo {
    std::size_t free = 0, total = 0;
};
Status memoryInfo(MemoryInfo* info);

/// What a status means, in CUDA's words.
const char* errorText(Status status);

}  // namespace fettle::kernels::cuda
