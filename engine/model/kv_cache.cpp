#include "engine/model/kv_cache.h"

namespace fettle {

KvCache::KvCache(const ModelConfig& config, std::int64_t capacity, kernels::KvType type,
                 Backend& backend)
    : m_capacity(capacity), m_type(type) {
    const std::size_t element = type == kernels::KvType::F16 ? 2 : 4;
    const std::size_t bytes =
        static_cast<std::size_t>(capacity * config.kvHeads * config.headDim) * element;
    for (std::int64_t layer = 0; layer < config.layerCount(); ++layer) {
        m_keys.push_back(backend.allocate(bytes));
        m_values.push_back(backend.allocate(bytes));
    }
}

std::size_t KvCache::bytes() const {
    std::size_t sum = 0;
    for (const auto& buffer : m_keys)
        sum += 2 * buffer->bytes();
    return sum;
}

}  // namespace fettle
