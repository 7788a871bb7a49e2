// The end of the ladder: the front, the recommended model, and why.
#pragma once

#include "engine/advisor/ladder.h"

namespace fettle {

/// Fills front, recommended, met and verdict of the ladder's report from what was measured in full.
void conclude(Ladder& ladder);

}  // namespace fettle
