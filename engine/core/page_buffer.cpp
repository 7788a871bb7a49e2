#include "engine/core/page_buffer.h"

#include <sys/mman.h>
#include <unistd.h>

#include <new>
#include <utility>

namespace fettle {

namespace {

/// Huge pages of the common systems; they lie at their multiples.
constexpr std::uintptr_t kHugePage = std::uintptr_t{1} << 21;

/// Pages of zeros that begin where a huge page can, if they are as large.
void* map(std::size_t bytes) {
    const std::size_t more = bytes >= kHugePage ? kHugePage : 0;
    void* const all =
        mmap(nullptr, bytes + more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED)
        throw std::bad_alloc();
    auto* at = static_cast<std::byte*>(all);
    if (more > 0) {
        const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
        const std::uintptr_t before = (0 - reinterpret_cast<std::uintptr_t>(at)) % kHugePage;
        const std::size_t kept = (bytes + page - 1) / page * page;
        if (before > 0)
            munmap(at, before);
        at += before;
        munmap(at + kept, more - before);
        madvise(at, bytes, MADV_HUGEPAGE);  // a wish; fails where the system has none
    }
    return at;
}

}  // namespace

template <class T>
PageArray<T>::PageArray(PageArray&& other) noexcept
    : m_data(std::exchange(other.m_data, nullptr)), m_size(std::exchange(other.m_size, 0)) {}

template <class T>
PageArray<T>& PageArray<T>::operator=(PageArray&& other) noexcept {
    if (this != &other) {
        unmap();
        m_data = std::exchange(other.m_data, nullptr);
        m_size = std::exchange(other.m_size, 0);
    }
    return *this;
}

template <class T>
PageArray<T>::~PageArray() {
    unmap();
}

template <class T>
void PageArray<T>::reset(std::size_t count) {
    if (count == m_size)
        return release();
    unmap();
    if (count == 0)
        return;
    m_data = static_cast<T*>(map(count * sizeof(T)));
    m_size = count;
}

template <class T>
void PageArray<T>::release() {
    if (m_data)
        madvise(m_data, m_size * sizeof(T), MADV_DONTNEED);
}

template <class T>
void PageArray<T>::unmap() {
    if (m_data)
        munmap(m_data, m_size * sizeof(T));
    m_data = nullptr;
    m_size = 0;
}

template class PageArray<float>;
template class PageArray<std::uint16_t>;

}  // namespace fettle
