// The fast kernels of choosing codes on one instruction-set level; see kernel_table.h for why there
// are only aggregates and declarations here.
#pragma once

#include "kernels/ops/code_panel.h"

namespace fettle::kernels {

struct QuantTable {
    void (*panelProduct)(const PanelProduct* product);
    void (*panelSolve)(const PanelSolve* solve);
    void (*tryScales)(const ScaleTrial* trial);
    void (*sweepColumns)(const PanelSweep* sweep);
    void (*improveCodes)(const PanelDescent* descent);
};

/// The level in use, see isa.h.
const QuantTable& quantKernels();

}  // namespace fettle::kernels
