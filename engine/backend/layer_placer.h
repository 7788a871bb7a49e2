// For backends made of several devices, each of which holds some of a model's layers: who works on
// a layer says so.
#pragma once

#include <cstdint>

#include "engine/backend/backend.h"

namespace fettle {

class LayerPlacer {
public:
    virtual ~LayerPlacer() = default;
    /// What is prepared and computed from here on belongs to layer `layer` of `count`; layer
    /// `count` is what follows the last one.
    virtual void enterLayer(std::int64_t layer, std::int64_t count) = 0;
};

/// On a backend that need not place anything.
inline void enterLayer(Backend& backend, std::int64_t layer, std::int64_t count) {
    if (auto* const placer = dynamic_cast<LayerPlacer*>(&backend))
        placer->enterLayer(layer, count);
}

}  // namespace fettle
