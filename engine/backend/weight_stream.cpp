#include "engine/backend/weight_stream.h"

#include <algorithm>
#include <utility>

namespace fettle {

namespace cuda = kernels::cuda;

namespace {
constexpr const char* kCopying = "copying weights to the device";
}

WeightStream::WeightStream(Check check, Allocate allocate)
    : m_check(std::move(check)), m_allocate(std::move(allocate)) {}

WeightStream::~WeightStream() {
    if (m_copies)
        cuda::synchronize(m_copies);
    for (const auto& [memory, bytes] : m_bytes)
        cuda::releasePinned(const_cast<std::byte*>(memory));
    for (Slot& slot : m_slots)
        for (const cuda::Event event : {slot.copied, slot.read})
            if (event)
                cuda::destroyEvent(event);
    if (m_copies)
        cuda::destroyStream(m_copies);
}

void WeightStream::start() {
    if (m_copies)
        return;
    m_check(cuda::createCopyStream(&m_copies), "starting the device");
    for (Slot& slot : m_slots) {
        m_check(cuda::createEvent(&slot.copied), "starting the device");
        m_check(cuda::createEvent(&slot.read), "starting the device");
    }
}

std::byte* WeightStream::add(std::size_t bytes) {
    void* memory = nullptr;
    m_check(cuda::allocatePinned(&memory, bytes), "reserving memory of the host for weights");
    auto* const weight = static_cast<std::byte*>(memory);
    m_bytes[weight] = bytes;
    m_hostBytes += bytes;
    m_largest = std::max(m_largest, bytes);
    return weight;
}

void WeightStream::remove(std::byte* weight) noexcept {
    if (m_copies)
        cuda::synchronize(m_copies);  // it may be on its way; an error comes out of the next use
    for (Slot& slot : m_slots)
        if (slot.weight == weight)
            slot.weight = nullptr;
    m_next.erase(weight);
    std::erase_if(m_next, [&](const auto& each) { return each.second == weight; });
    if (m_last == weight)
        m_last = nullptr;
    m_hostBytes -= m_bytes.at(weight);
    m_bytes.erase(weight);
    cuda::releasePinned(weight);
}

/// Slots for the largest weight there is by now.
void WeightStream::makeRoom(cuda::Stream compute) {
    if (m_slots[0].memory && m_slots[0].memory->bytes() >= m_largest)
        return;
    m_check(cuda::synchronize(compute), "computing");
    m_check(cuda::synchronize(m_copies), kCopying);
    for (Slot& slot : m_slots) {
        slot.weight = nullptr;
        slot.memory.reset();
    }
    for (Slot& slot : m_slots)
        slot.memory = m_allocate(m_largest);
    // What clears them is queued on the other stream.
    for (Slot& slot : m_slots)
        m_check(cuda::record(slot.read, compute), "computing");
}

void WeightStream::copyTo(Slot& slot, const std::byte* weight) {
    m_check(cuda::streamWaits(m_copies, slot.read), kCopying);
    m_check(cuda::copyToDevice(slot.memory->data(), weight, m_bytes.at(weight), m_copies),
            kCopying);
    m_check(cuda::record(slot.copied, m_copies), kCopying);
    slot.weight = weight;
}

const std::byte* WeightStream::use(const std::byte* weight, cuda::Stream compute) {
    start();
    makeRoom(compute);
    Slot& before = m_slots[m_current];
    if (before.weight == weight)
        return static_cast<const std::byte*>(before.memory->data());
    // All products with the weight before are queued by now.
    m_check(cuda::record(before.read, compute), "computing");
    m_current = 1 - m_current;
    Slot& slot = m_slots[m_current];
    if (slot.weight == weight) {
        ++m_ahead;
    } else {
        copyTo(slot, weight);
        ++m_late;
    }
    m_check(cuda::streamWaits(compute, slot.copied), kCopying);
    if (m_last)
        m_next[m_last] = weight;
    m_last = weight;
    const auto next = m_next.find(weight);
    if (next != m_next.end() && next->second != weight)
        copyTo(before, next->second);
    return static_cast<const std::byte*>(slot.memory->data());
}

}  // namespace fettle
