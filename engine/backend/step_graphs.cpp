#include "engine/backend/step_graphs.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace fettle {

namespace cuda = kernels::cuda;

namespace {

// Steps that are remembered: one token of a model and its draft, and checks of drafts of several
// lengths.
constexpr std::size_t kMostEntries = 16;
constexpr std::size_t kArgumentAlignment = 16;

}  // namespace

// ---- recordings

void StepGraphs::Recording::clear() {
    calls.clear();
    sizes.clear();
    offsets.clear();
    bytes.clear();
}

void StepGraphs::Recording::add(const cuda::KernelCall& call) {
    calls.push_back({call, sizes.size()});
    for (std::size_t i = 0; i < call.count; ++i) {
        const std::size_t offset =
            (bytes.size() + kArgumentAlignment - 1) / kArgumentAlignment * kArgumentAlignment;
        bytes.resize(offset + call.sizes[i]);
        std::memcpy(bytes.data() + offset, call.arguments[i], call.sizes[i]);
        sizes.push_back(call.sizes[i]);
        offsets.push_back(offset);
    }
}

cuda::KernelCall StepGraphs::Recording::at(std::size_t i, std::vector<void*>& pointers) const {
    const Call& held = calls[i];
    cuda::KernelCall call = held.call;
    pointers.resize(call.count);
    for (std::size_t a = 0; a < call.count; ++a)
        pointers[a] = const_cast<std::byte*>(bytes.data()) + offsets[held.firstArgument + a];
    call.arguments = pointers.data();
    call.sizes = sizes.data() + held.firstArgument;
    return call;
}

bool StepGraphs::Recording::sameKernels(const Recording& other) const {
    return std::equal(calls.begin(), calls.end(), other.calls.begin(), other.calls.end(),
                      [](const Call& a, const Call& b) { return a.call.kernel == b.call.kernel; });
}

/// Both have the same kernels, so their arguments lie at the same places.
bool StepGraphs::Recording::sameCall(std::size_t i, const Recording& other) const {
    const cuda::KernelCall &a = calls[i].call, &b = other.calls[i].call;
    if (!std::equal(a.grid, a.grid + 3, b.grid) || !std::equal(a.block, a.block + 3, b.block) ||
        a.sharedBytes != b.sharedBytes)
        return false;
    for (std::size_t n = calls[i].firstArgument; n < calls[i].firstArgument + a.count; ++n)
        if (std::memcmp(bytes.data() + offsets[n], other.bytes.data() + offsets[n], sizes[n]) != 0)
            return false;
    return true;
}

// ---- steps

StepGraphs::~StepGraphs() {
    drop();
    for (const Entry& entry : m_entries)
        if (entry.graph)
            cuda::destroyGraph(entry.graph);
}

void StepGraphs::begin(const void* owner, std::int64_t tokens) {
    drop();
    ++m_steps;
    if (m_off)
        return;
    m_owner = owner;
    m_tokens = tokens;
    m_reason.clear();
    m_recording = true;
    cuda::launchRecorder = this;
}

cuda::Status StepGraphs::take(const cuda::KernelCall& call) {
    m_now.add(call);
    return cuda::kSuccess;
}

void StepGraphs::stopRecording() noexcept {
    if (std::exchange(m_recording, false))
        cuda::launchRecorder = nullptr;
}

void StepGraphs::drop() noexcept {
    stopRecording();
    m_now.clear();
}

cuda::Status StepGraphs::runDirectly(cuda::Stream stream) {
    ++m_counts.direct;
    for (std::size_t i = 0; i < m_now.calls.size(); ++i) {
        const cuda::KernelCall call = m_now.at(i, m_pointers);
        if (const cuda::Status status = call.run(call, stream); status != cuda::kSuccess)
            return status;
    }
    return cuda::kSuccess;
}

cuda::Status StepGraphs::interrupt(cuda::Stream stream, const char* why) {
    if (!m_recording)
        return cuda::kSuccess;
    stopRecording();
    m_reason = why;
    const cuda::Status status = runDirectly(stream);
    m_now.clear();
    return status;
}

cuda::Status StepGraphs::finish(cuda::Stream stream) {
    if (!m_recording)
        return cuda::kSuccess;
    stopRecording();
    Entry* const entry = find();
    cuda::Status status = cuda::kSuccess;
    if (entry && (entry->graph ? change(*entry) : make(*entry))) {
        entry->used = m_steps;
        ++m_counts.played;
        status = cuda::launchGraph(entry->graph, stream);
    } else {
        if (!entry && !m_off) {
            remember();
            m_reason = "the first step of its kind";
        }
        status = runDirectly(stream);
    }
    m_now.clear();
    return status;
}

StepGraphs::Entry* StepGraphs::find() {
    const auto found = std::find_if(m_entries.begin(), m_entries.end(), [&](const Entry& entry) {
        return entry.owner == m_owner && entry.tokens == m_tokens && entry.last.sameKernels(m_now);
    });
    return found == m_entries.end() ? nullptr : &*found;
}

/// In the place of the one that was not used for longest, if there are many.
void StepGraphs::remember() {
    if (m_entries.size() < kMostEntries)
        m_entries.emplace_back();
    Entry& entry =
        *std::min_element(m_entries.begin(), m_entries.end(),
                          [](const Entry& a, const Entry& b) { return a.used < b.used; });
    if (entry.graph)
        cuda::destroyGraph(std::exchange(entry.graph, nullptr));
    entry.owner = m_owner;
    entry.tokens = m_tokens;
    entry.last = m_now;
    entry.used = m_steps;
}

bool StepGraphs::make(Entry& entry) {
    entry.last = m_now;
    std::vector<std::vector<void*>> pointers(m_now.calls.size());
    std::vector<cuda::KernelCall> calls;
    for (std::size_t i = 0; i < m_now.calls.size(); ++i)
        calls.push_back(m_now.at(i, pointers[i]));
    if (const cuda::Status status = cuda::createGraph(&entry.graph, calls.data(), calls.size());
        status != cuda::kSuccess)
        return refuse("no graph could be made", status);
    ++m_counts.made;
    return true;
}

bool StepGraphs::change(Entry& entry) {
    for (std::size_t i = 0; i < m_now.calls.size(); ++i) {
        if (m_now.sameCall(i, entry.last))
            continue;
        const cuda::Status status = cuda::setGraphCall(entry.graph, i, m_now.at(i, m_pointers));
        if (status != cuda::kSuccess) {
            cuda::destroyGraph(std::exchange(entry.graph, nullptr));
            return refuse("a graph could not be changed", status);
        }
        ++m_counts.changedCalls;
    }
    std::swap(entry.last, m_now);
    return true;
}

/// Steps are queued launch by launch from now on.
bool StepGraphs::refuse(const char* what, cuda::Status status) {
    m_off = true;
    m_reason = std::string(what) + ": " + cuda::errorText(status);
    return false;
}

}  // namespace fettle
