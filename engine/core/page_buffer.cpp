#include "engine/core/page_buffer.h"

#include <sys/mman.h>

#include <new>
#include <utility>

namespace fettle {

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
    const std::size_t bytes = count * sizeof(T);
    void* const at =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        throw std::bad_alloc();
    madvise(at, bytes, MADV_HUGEPAGE);  // a wish; fails where the system has none
    m_data = static_cast<T*>(at);
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
