#include "kernels/cuda/runtime.h"

#include <vector>

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

struct ExecutableGraph {
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    std::vector<cudaGraphNode_t> nodes;

    ExecutableGraph() = default;
    ~ExecutableGraph() {
        if (executable)
            taken(cudaGraphExecDestroy(executable));
        if (graph)
            taken(cudaGraphDestroy(graph));
    }
    ExecutableGraph(const ExecutableGraph&) = delete;
    ExecutableGraph& operator=(const ExecutableGraph&) = delete;
};

cudaKernelNodeParams nodeOf(const KernelCall& call) {
    cudaKernelNodeParams node = {};
    node.func = const_cast<void*>(call.kernel);
    node.gridDim = dim3(call.grid[0], call.grid[1], call.grid[2]);
    node.blockDim = dim3(call.block[0], call.block[1], call.block[2]);
    node.sharedMemBytes = static_cast<unsigned>(call.sharedBytes);
    node.kernelParams = const_cast<void**>(call.arguments);
    return node;
}

/// Each launch depends on the one before, as on a stream.
cudaError_t build(ExecutableGraph& made, const KernelCall* calls, std::size_t count) {
    cudaError_t status = cudaGraphCreate(&made.graph, 0);
    made.nodes.resize(count);
    for (std::size_t i = 0; i < count && status == cudaSuccess; ++i) {
        const cudaKernelNodeParams node = nodeOf(calls[i]);
        status = cudaGraphAddKernelNode(&made.nodes[i], made.graph,
                                        i > 0 ? &made.nodes[i - 1] : nullptr, i > 0 ? 1 : 0, &node);
    }
    return status == cudaSuccess ? cudaGraphInstantiate(&made.executable, made.graph, 0) : status;
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
Status createCopyStream(Stream* stream) {
    return createStream(stream);
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
Status copyBetween(void* to, int toDevice, const void* from, int fromDevice, std::size_t bytes,
                   Stream stream) {
    return taken(cudaMemcpyPeerAsync(to, toDevice, from, fromDevice, bytes, streamOf(stream)));
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

Status streamWaits(Stream stream, Event event) {
    return taken(cudaStreamWaitEvent(streamOf(stream), eventOf(event), 0));
}

Status createGraph(Graph* graph, const KernelCall* calls, std::size_t count) {
    auto* made = new ExecutableGraph;
    const Status status = taken(build(*made, calls, count));
    if (status != kSuccess) {
        delete made;
        return status;
    }
    *graph = made;
    return kSuccess;
}
Status setGraphCall(Graph graph, std::size_t number, const KernelCall& call) {
    auto* held = static_cast<ExecutableGraph*>(graph);
    const cudaKernelNodeParams node = nodeOf(call);
    return taken(cudaGraphExecKernelNodeSetParams(held->executable, held->nodes[number], &node));
}
Status launchGraph(Graph graph, Stream stream) {
    return taken(
        cudaGraphLaunch(static_cast<ExecutableGraph*>(graph)->executable, streamOf(stream)));
}
void destroyGraph(Graph graph) {
    delete static_cast<ExecutableGraph*>(graph);
}

Status memoryInfo(MemoryInfo* info) {
    return taken(cudaMemGetInfo(&info->free, &info->total));
}

const char* errorText(Status status) {
    return cudaGetErrorString(static_cast<cudaError_t>(status));
}

}  // namespace fettle::kernels::cuda
