// A typed n-d array over memory that someone owns: a mapped file, or a buffer. Copying a Tensor
// copies the view and shares the owner; nothing here copies or converts elements behind the
// caller's back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/tensor/dtype.h"

namespace fettle {

using Shape = std::vector<std::int64_t>;
std::string toString(const Shape& shape);
/// Product of the dimensions; -1 when it overflows or a dimension is negative.
std::int64_t elementCount(const Shape& shape);

class Tensor {
public:
    Tensor() = default;
    /// A view of `bytes` at `data`, kept alive by `owner`.
    Tensor(DType dtype, Shape shape, const std::byte* data, std::size_t bytes,
           std::shared_ptr<const void> owner);
    /// A new zeroed, 64-byte aligned buffer. Throws EngineError(OutOfMemory).
    static Tensor allocate(DType dtype, Shape shape);
    static Tensor allocateBytes(DType dtype, Shape shape, std::size_t bytes);

    bool empty() const { return m_data == nullptr; }
    DType dtype() const { return m_dtype; }
    const Shape& shape() const { return m_shape; }
    std::int64_t dim(std::size_t i) const { return m_shape.at(i); }
    std::int64_t elements() const { return elementCount(m_shape); }
    std::size_t bytes() const { return m_bytes; }
    const std::byte* data() const { return m_data; }
    template <typename T>
    const T* as() const {
        return reinterpret_cast<const T*>(m_data);
    }
    /// Writable only for tensors made by allocate().
    template <typename T>
    T* mutableAs() {
        return reinterpret_cast<T*>(m_mutable);
    }
    /// Same memory, other shape of equal element count.
    Tensor reshaped(Shape shape) const;
    /// A view of `bytes` bytes from `offset`, as one-dimensional; give it its shape with
    /// withShape().
    Tensor slice(std::size_t offset, std::size_t bytes) const;
    /// Same memory under another shape, for types whose element count says nothing (blocks). The
    /// caller knows that it fits.
    Tensor withShape(Shape shape) const;

    /// Says that the elements lie in a mapped file, so that dropPages() may give their memory back.
    Tensor& markMapped() {
        m_mapped = true;
        return *this;
    }
    bool mapped() const { return m_mapped; }
    /// Gives the resident pages of a mapped tensor back to the system; they are read again on the
    /// next access. Work that goes through a model tensor by tensor calls it so that memory stays
    /// flat. Nothing happens for buffers.
    void dropPages() const;

private:
    DType m_dtype = DType::F32;
    Shape m_shape;
    const std::byte* m_data = nullptr;
    std::byte* m_mutable = nullptr;
    std::size_t m_bytes = 0;
    bool m_mapped = false;
    std::shared_ptr<const void> m_owner;
};

}  // namespace fettle
