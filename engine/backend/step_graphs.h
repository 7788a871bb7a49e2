// Decoding played from CUDA graphs. A step's launches are recorded instead of queued; when they are
// those of an earlier step but for arguments (the position, the part of the rope's table, the grid
// of the attention), the graph of that step gets the new arguments and is launched as one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/runtime.h"

namespace fettle {

class StepGraphs : private kernels::cuda::LaunchRecorder {
public:
    /// What became of steps, and how many launches of graphs got new arguments.
    struct Counts {
        std::int64_t played = 0, made = 0, direct = 0, changedCalls = 0;
    };

    StepGraphs() = default;
    ~StepGraphs() override;
    StepGraphs(const StepGraphs&) = delete;
    StepGraphs& operator=(const StepGraphs&) = delete;

    /// Records the calling thread's launches from here on. `owner` and `tokens` tell steps apart
    /// that are likely to differ in more than arguments.
    void begin(const void* owner, std::int64_t tokens);
    bool recording() const { return m_recording; }
    /// Recording, and nothing was recorded so far.
    bool atBeginning() const { return m_recording && m_now.calls.empty(); }
    /// Queues the step: from its graph; one launch after the other the first time and where there
    /// is none.
    kernels::cuda::Status finish(kernels::cuda::Stream stream);
    /// Queues what was recorded one by one and records no more of this step.
    kernels::cuda::Status interrupt(kernels::cuda::Stream stream, const char* why);
    void drop() noexcept;

    const Counts& counts() const { return m_counts; }
    /// Why steps are not, or the last one was not, played from a graph; empty if it was.
    const std::string& reason() const { return m_reason; }

private:
    /// Launches with arguments of their own.
    struct Recording {
        struct Call {
            kernels::cuda::KernelCall call;
            std::size_t firstArgument = 0;
        };
        std::vector<Call> calls;
        std::vector<std::size_t> sizes, offsets;  // of all arguments, in `bytes`
        std::vector<std::byte> bytes;

        void clear();
        void add(const kernels::cuda::KernelCall& call);
        /// Call `i` with pointers into this recording, which `pointers` holds.
        kernels::cuda::KernelCall at(std::size_t i, std::vector<void*>& pointers) const;
        bool sameKernels(const Recording& other) const;
        bool sameCall(std::size_t i, const Recording& other) const;
    };
    struct Entry {
        const void* owner = nullptr;
        std::int64_t tokens = 0;
        Recording last;
        kernels::cuda::Graph graph = nullptr;
        std::uint64_t used = 0;
    };

    kernels::cuda::Status take(const kernels::cuda::KernelCall& call) override;
    void stopRecording() noexcept;
    kernels::cuda::Status runDirectly(kernels::cuda::Stream stream);
    Entry* find();
    void remember();
    bool make(Entry& entry);
    bool change(Entry& entry);
    bool refuse(const char* what, kernels::cuda::Status status);

    bool m_recording = false, m_off = false;
    const void* m_owner = nullptr;
    std::int64_t m_tokens = 0;
    Recording m_now;
    std::vector<Entry> m_entries;
    std::uint64_t m_steps = 0;
    Counts m_counts;
    std::string m_reason;
    std::vector<void*> m_pointers;
};

}  // namespace fettle
