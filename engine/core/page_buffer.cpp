#include "engine/core/page_buffer.h"

#include <sys/mman.h>

#include <new>
#include <utility>

namespace fettle {

PageBuffer::PageBuffer(PageBuffer&& other) noexcept
    : m_data(std::exchange(other.m_data, nullptr)), m_size(std::exchange(other.m_size, 0)) {}

PageBuffer& PageBuffer::operator=(PageBuffer&& other) noexcept {
    if (this != &other) {
        unmap();
        m_data = std::exchange(other.m_data, nullptr);
        m_size = std::exchange(other.m_size, 0);
    }
    return *this;
}

PageBuffer::~PageBuffer() {
    unmap();
}

void PageBuffer::reset(std::size_t count) {
    if (count == m_size)
        return release();
    unmap();
    if (count == 0)
        return;
    const std::size_t bytes = count * sizeof(float);
    void* const at =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        throw std::bad_alloc();
    madvise(at, bytes, MADV_HUGEPAGE);  // a wish; fails where the system has none
    m_data = static_cast<float*>(at);
    m_size = count;
}

void PageBuffer::release() {
    if (m_data)
        madvise(m_data, m_size * sizeof(float), MADV_DONTNEED);
}

void PageBuffer::unmap() {
    if (m_data)
        munmap(m_data, m_size * sizeof(float));
    m_data = nullptr;
    m_size = 0;
}

}  // namespace fettle
