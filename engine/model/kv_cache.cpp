#include "engine/model/kv_cache.h"

#include "engine/core/error.h"

namespace fettle {

kernels::KvType kvTypeNamed(const std::string& name) {
    const std::optional<kernels::KvType> type = kernels::findKvType(name);
    if (!type)
        throw EngineError(
            ErrorKind::Usage,
            "keys and values can be f16, f32, int8, fp8 or int4, not \"" + name + "\"");
    return *type;
}

KvCache::KvCache(const ModelConfig& config, std::int64_t capacity, kernels::KvType type,
                 Backend& backend)
    : m_backend(&backend),
      m_kvHeads(config.kvHeads),
      m_headDim(config.headDim),
      m_capacity(capacity),
      m_type(type) {
    if (config.headDim % kernels::kvHeadUnit(type) != 0)
        throw EngineError(ErrorKind::Usage, std::string("keys and values as ") +
                                                kernels::name(type) +
                                                " need heads whose size is a multiple of " +
                                                std::to_string(kernels::kvHeadUnit(type)) +
                                                ", not " + std::to_string(config.headDim));
    const std::size_t bytes = kernels::kvBytes(type, config.kvHeads, room(), config.headDim);
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
        m_backend->keepKv(m_keys[layer]->data(), m_values[layer]->data(), m_type, room(), past,
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
