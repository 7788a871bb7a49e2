#include "kernels/cpu/simd/train_tables.h"

namespace fettle::kernels::FETTLE_SIMD {

extern const TrainTable kTrainTable;
const TrainTable kTrainTable = {{kGemmWidth, kGemmRows, gemmPanelFloats, 8, gemmBlock, gemmPack},
                                attentionScratchFloats,
                                attentionForward,
                                attentionBackward,
                                attentionMatchFloats,
                                attentionMatch,
                                rmsNormBackward,
                                layerNormBackward,
                                siluMulBackward,
                                geluTanhMulBackward,
                                geluTanhBackward,
                                gatedForward,
                                softcapBackward,
                                addScaled,
                                crossEntropyRow,
                                distillRow,
                                logSumExpRow,
                                expRow,
                                sumSquares,
                                roundToBfloat16,
                                widenBfloat16,
                                adamw,
                                fakeQuant,
                                fakeQuantBackward,
                                fakeQuantRow};

}  // namespace fettle::kernels::FETTLE_SIMD
