// Keys and values of the tokens seen so far, per layer: [kvHeads][capacity][headDim], of the type
// that the model's configuration names, float16 unless it names another.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/model/model_config.h"

namespace fettle {

/// "f16", "f32", "int8", "fp8", "int4". Throws EngineError(Usage) for another name.
kernels::KvType kvTypeNamed(const std::string& name);

class KvCache {
public:
    /// Room for `capacity` tokens of one sequence.
    KvCache(const ModelConfig& config, std::int64_t capacity, kernels::KvType type,
            Backend& backend);

    std::int64_t length() const { return m_length; }
    std::int64_t capacity() const { return m_capacity; }
    /// Tokens that there is memory for, the capacity that kernels are told: whole blocks of sixteen
    /// keys, which they read without a special case.
    std::int64_t room() const { return (m_capacity + 15) / 16 * 16; }
    std::size_t bytes() const;
    kernels::KvType type() const { return m_type; }
    void* keys(std::int64_t layer) { return m_keys[static_cast<std::size_t>(layer)]->data(); }
    void* values(std::int64_t layer) { return m_values[static_cast<std::size_t>(layer)]->data(); }
    void advance(std::int64_t tokens) { m_length += tokens; }
    /// Forgets every token from position `length` on (speculative rollback, scoring several
    /// continuations).
    void truncate(std::int64_t length) { m_length = std::min(m_length, length); }
    /// Of the tokens from position `past` on, keeps those at past + kept[i] and forgets the others:
    /// the path of a tree that was accepted. `kept` ascends. Throws EngineError(Internal) for a
    /// token that the cache does not hold.
    void keep(std::int64_t past, std::span<const std::int32_t> kept);

private:
    Backend* m_backend;
    std::int64_t m_kvHeads, m_headDim;
    std::int64_t m_capacity;
    std::int64_t m_length = 0;
    kernels::KvType m_type;
    std::vector<std::unique_ptr<DeviceBuffer>> m_keys;
    std::vector<std::unique_ptr<DeviceBuffer>> m_values;
};

}  // namespace fettle
