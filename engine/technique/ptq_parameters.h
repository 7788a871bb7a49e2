// What ptq can be told: the only place where its options are written.
#pragma once

#include "engine/experiment/technique_schema.h"

namespace fettle {

TechniqueDescriptor ptqDescriptor();

}  // namespace fettle
