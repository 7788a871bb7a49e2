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
    : m_capacity(capacity), m_type(type) {
    if (type == kernels::KvType::Int4 && config.headDim % 2 != 0)
        throw EngineError(ErrorKind::Usage,
                          "keys and values as int4 need heads of an even size, not " +
                              std::to_string(config.headDim));
    const std::size_t bytes = kernels::kvBytes(type, config.kvHeads, capacity, config.headDim);
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
