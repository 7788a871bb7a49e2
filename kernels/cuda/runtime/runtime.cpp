#include "kernels/cuda/runtime.h"

#include <cuda_runtime_api.h>

namespace fettle::kernels::cuda {
namespace {

cudaStream_t streamOf(Stream stream) {
    return static_cast<cudaStream_t>(stream);
}
cudaEvent_t eventOf(Event event) {
    return static_cast<cudaEvent_t>(event);
}

/// The status, which the library then forgets: it would come out of the next launch again.
Status taken(cudaError_t status) {
    if (status != cudaSuccess)
        cudaGetLastError();
    return static_cast<Status>(status);
}

}  // namespace

static_assert(kSuccess == cudaSuccess && kInvalidValue == cudaErrorInvalidValue &&
              kOutOfMemory == cudaErrorMemoryAllocation);

Status useDevice(int device) {
    return taken(cudaSetDevice(device));
}
Status createStream(Stream* stream) {
    return taken(
        cudaStreamCreateWithFlags(reinterpret_cast<cudaStream_t*>(stream), cudaStreamNonBlocking));
}
void destroyStream(Stream stream) {
    taken(cudaStreamDestroy(streamOf(stream)));
}
Status synchronize(Stream stream) {
    return taken(cudaStreamSynchronize(streamOf(stream)));
}

Status allocate(void** memory, std::size_t bytes) {
    return taken(cudaMalloc(memory, bytes));
}
void release(void* memory) {
    taken(cudaFree(memory));
}
Status allocatePinned(void** memory, std::size_t bytes) {
    return taken(cudaHostAlloc(memory, bytes, cudaHostAllocDefault));
}
void releasePinned(void* memory) {
    taken(cudaFreeHost(memory));
}

Status copyToDevice(void* device, const void* host, std::size_t bytes, Stream stream) {
    return taken(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, streamOf(stream)));
}
Status copyToHost(void* host, const void* device, std::size_t bytes, Stream stream) {
    return taken(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, streamOf(stream)));
}
Status fill(void* device, unsigned char value, std::size_t bytes, Stream stream) {
    return taken(cudaMemsetAsync(device, value, bytes, streamOf(stream)));
}

Status createEvent(Event* event) {
    return taken(
        cudaEventCreateWithFlags(reinterpret_cast<cudaEvent_t*>(event), cudaEventDisableTiming));
}
void destroyEvent(Event event) {
    taken(cudaEventDestroy(eventOf(event)));
}
Status record(Event event, Stream stream) {
    return taken(cudaEventRecord(eventOf(event), streamOf(stream)));
}
Status waitFor(Event event) {
    return taken(cudaEventSynchronize(eventOf(event)));
}

Status memoryInfo(MemoryInfo* info) {
    return taken(cudaMemGetInfo(&info->free, &info->total));
}

const char* errorText(Status status) {
    return cudaGetErrorString(static_cast<cudaError_t>(status));
}

}  // namespace fettle::kernels::cuda
