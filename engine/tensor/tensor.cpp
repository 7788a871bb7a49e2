#include "engine/tensor/tensor.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

#include "engine/core/error.h"

namespace fettle {
namespace {

constexpr std::size_t kAlignment = 64;  // one cache line, and the widest vector

std::size_t pageBytes() {
    static const auto bytes = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    return bytes;
}

}  // namespace

std::string toString(const Shape& shape) {
    std::string text = "[";
    for (std::size_t i = 0; i < shape.size(); ++i)
        text += (i ? ", " : "") + std::to_string(shape[i]);
    return text + "]";
}

std::int64_t elementCount(const Shape& shape) {
    std::int64_t count = 1;
    for (const std::int64_t d : shape)
        if (d < 0 || __builtin_mul_overflow(count, d, &count))
            return -1;
    return count;
}

Tensor::Tensor(DType dtype, Shape shape, const std::byte* data, std::size_t bytes,
               std::shared_ptr<const void> owner)
    : m_dtype(dtype),
      m_shape(std::move(shape)),
      m_data(data),
      m_bytes(bytes),
      m_owner(std::move(owner)) {}

Tensor Tensor::allocate(DType dtype, Shape shape) {
    const std::int64_t count = elementCount(shape);
    std::size_t bytes = 0;
    if (count < 0 ||
        __builtin_mul_overflow(static_cast<std::size_t>(count), dtypeBytes(dtype), &bytes))
        throw EngineError(ErrorKind::OutOfMemory,
                          "a tensor of shape " + toString(shape) + " is too large");
    return allocateBytes(dtype, std::move(shape), bytes);
}

Tensor Tensor::allocateBytes(DType dtype, Shape shape, std::size_t bytes) {
    void* memory = nullptr;
    if (bytes <= std::numeric_limits<std::size_t>::max() - kAlignment)
        memory = std::aligned_alloc(kAlignment, (bytes + kAlignment) / kAlignment * kAlignment);
    if (!memory)
        throw EngineError(ErrorKind::OutOfMemory, "no memory for a tensor of shape " +
                                                      toString(shape) + " (" +
                                                      std::to_string(bytes) + " bytes)");
    std::shared_ptr<std::byte> owner(static_cast<std::byte*>(memory),
                                     [](std::byte* p) { std::free(p); });
    std::memset(owner.get(), 0, bytes);
    Tensor tensor(dtype, std::move(shape), owner.get(), bytes, owner);
    tensor.m_mutable = owner.get();
    return tensor;
}

Tensor Tensor::reshaped(Shape shape) const {
    if (elementCount(shape) != elements())
        throw EngineError(ErrorKind::Internal, "a tensor of shape " + toString(m_shape) +
                                                   " cannot become " + toString(shape));
    Tensor tensor = *this;
    tensor.m_shape = std::move(shape);
    return tensor;
}

Tensor Tensor::slice(std::size_t offset, std::size_t bytes) const {
    if (offset > m_bytes || bytes > m_bytes - offset)
        throw EngineError(ErrorKind::Internal, "a slice of " + std::to_string(bytes) +
                                                   " bytes at " + std::to_string(offset) +
                                                   " leaves a tensor of " +
                                                   std::to_string(m_bytes) + " bytes");
    Tensor tensor = *this;
    tensor.m_data = m_data + offset;
    tensor.m_mutable = m_mutable ? m_mutable + offset : nullptr;
    tensor.m_bytes = bytes;
    const std::size_t element = dtypeBytes(m_dtype);
    tensor.m_shape = {static_cast<std::int64_t>(element ? bytes / element : bytes)};
    return tensor;
}

Tensor Tensor::withShape(Shape shape) const {
    Tensor tensor = *this;
    tensor.m_shape = std::move(shape);
    return tensor;
}

void Tensor::dropPages() const {
    if (!m_mapped)
        return;
    // Only whole pages inside the tensor: a page shared with a neighbour may be in use.
    const std::size_t page = pageBytes();
    const auto begin = (reinterpret_cast<std::uintptr_t>(m_data) + page - 1) / page * page;
    const auto end = (reinterpret_cast<std::uintptr_t>(m_data) + m_bytes) / page * page;
    if (end > begin)
        madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace fettle
