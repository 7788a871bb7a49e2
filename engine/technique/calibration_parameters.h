// Parameters of the techniques that run calibration text through a model.
#pragma once

#include "engine/experiment/technique_schema.h"

namespace fettle {

/// "calibration_length"
ParameterSchema calibrationLengthParameter();
/// "damping"
ParameterSchema dampingParameter();

}  // namespace fettle
