// For devices whose profilers show named parts of the work (NVTX): who does the work names them.
#pragma once

#include <cstdint>

#include "engine/backend/backend.h"

namespace fettle {

class RangeMarker {
public:
    virtual ~RangeMarker() = default;
    /// Ranges nest: the last that began ends first. `number` belongs to the name; none if negative.
    virtual void beginRange(const char* name, std::int64_t number) = 0;
    virtual void endRange() noexcept = 0;
};

/// What the host queues while this lives, on a backend that need not mark anything.
class RangeScope {
public:
    RangeScope(Backend& backend, const char* name, std::int64_t number = -1)
        : m_marker(dynamic_cast<RangeMarker*>(&backend)) {
        if (m_marker)
            m_marker->beginRange(name, number);
    }
    ~RangeScope() {
        if (m_marker)
            m_marker->endRange();
    }
    RangeScope(const RangeScope&) = delete;
    RangeScope& operator=(const RangeScope&) = delete;

private:
    RangeMarker* m_marker;
};

}  // namespace fettle
