#include "engine/model/kv_cache.h"

#include "engine/core/error.h"

namespace fettle {

KvCache::KvCache(const ModelConfig& config, std::int64_t capacity, kernels::KvType type,
                 Backend& backend)
    : m_backend(&backend),
      m_kvHeads(config.kvHeads),
      m_headDim(config.headDim),
      m_capacity(capacity),
      m_type(type) {
    const std::size_t element = type == kernels::KvType::F16 ? 2 : 4;
    const std::size_t bytes =
        static_cast<std::size_t>(capacity * config.kvHeads * config.headDim) * element;
    for (std::int64_t layer = 0; layer < config.layerCount(); ++layer) {
        m_keys.push_back(backend.allocate(bytes));
        m_values.push_back(backend.allocate(bytes));
    }
}

void KvCache::keep(std::int64_t past, std::span<const std::int32_t> kept) {
    if (kept.empty())
        return truncate(past);
    if (past + kept.back() >= m_length)
        throw EngineError(ErrorKind::Internal, "the key/value cache holds " +
                                                   std::to_string(m_length) + " tokens, not " +
                                                   std::to_string(past + kept.back() + 1));
    const auto count = static_cast<std::int64_t>(kept.size());
    const bool inPlace = kept.back() == count - 1;
    for (std::size_t layer = 0; layer < m_keys.size() && !inPlace; ++layer)
        m_backend->keepKv(m_keys[layer]->data(), m_values[layer]->data(), m_type, m_capacity, past,
                          kept, m_kvHeads, m_headDim);
    m_length = past + count;
}

std::size_t KvCache::bytes() const {
    std::size_t sum = 0;
    for (const auto& buffer : m_keys)
        sum += 2 * buffer->bytes();
    return sum;
}

}  // namespace fettle
