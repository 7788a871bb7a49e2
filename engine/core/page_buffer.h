// Large arrays of numbers whose memory goes back to the system while nothing is in them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace fettle {

/// Numbers in pages of their own, huge ones where the system has them. Pages that nobody has
/// written take no memory and read as zeros. Move only. Made for float and std::uint16_t.
template <class T>
class PageArray {
public:
    PageArray() = default;
    PageArray(PageArray&& other) noexcept;
    PageArray& operator=(PageArray&& other) noexcept;
    ~PageArray();

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
    T* data() { return m_data; }
    const T* data() const { return m_data; }
    std::span<T> values() { return {m_data, m_size}; }

private:
    void unmap();

    T* m_data = nullptr;
    std::size_t m_size = 0;
};

extern template class PageArray<float>;
extern template class PageArray<std::uint16_t>;

using PageBuffer = PageArray<float>;

}  // namespace fettle
