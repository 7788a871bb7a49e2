#include "engine/technique/calibration_parameters.h"

namespace fettle {

ParameterSchema calibrationLengthParameter() {
    return numberParameter(
        "calibration_length", "Sequence length", ParameterType::Int, 0, 0, 32768, "tokens",
        "Length of a calibration sequence. 0: the context that is evaluated with.");
}

ParameterSchema dampingParameter() {
    ParameterSchema damping = numberParameter(
        "damping", "Damping", ParameterType::Double, 0.01, 0.0001, 1, "",
        "Share of the mean input power that is added to every input: more trusts the calibration "
        "text less.");
    damping.sweepable = true;
    return damping;
}

}  // namespace fettle
