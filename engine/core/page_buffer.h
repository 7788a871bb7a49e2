// Large arrays of floats whose memory goes back to the system while nothing is in them.
#pragma once

#include <cstddef>
#include <span>

namespace fettle {

/// Floats in pages of their own, huge ones where the system has them. Pages that nobody has written
/// take no memory and read as zeros. Move only.
class PageBuffer {
public:
    PageBuffer() = default;
    PageBuffer(PageBuffer&& other) noexcept;
    PageBuffer& operator=(PageBuffer&& other) noexcept;
    ~PageBuffer();

    /// `count` zeros. Throws std::bad_alloc.
    void reset(std::size_t count);
    /// At least `count` values; which ones is not said. Throws std::bad_alloc.
    void fit(std::size_t count) {
        if (m_size < count)
            reset(count);
    }
    /// All values become zero and their memory goes back.
    void release();

    std::size_t size() const { return m_size; }
    float* data() { return m_data; }
    const float* data() const { return m_data; }
    std::span<float> values() { return {m_data, m_size}; }

private:
    void unmap();

    float* m_data = nullptr;
    std::size_t m_size = 0;
};

}  // namespace fettle
