// The values of NF4 in device code.
#pragma once

#include "kernels/cuda/device.cuh"

namespace fettle::kernels::cuda {

/// As kernels/formats/small_float.h has them.
__constant__ const float kNf4Values[16] = {-1.0F,
                                           -0.6961928009986877F,
                                           -0.5250730514526367F,
                                           -0.39491748809814453F,
                                           -0.28444138169288635F,
                                           -0.18477343022823334F,
                                           -0.09105003625154495F,
                                           0.0F,
                                           0.07958029955625534F,
                                           0.16093020141124725F,
                                           0.24611230194568634F,
                                           0.33791524171829224F,
                                           0.44070982933044434F,
                                           0.5626170039176941F,
                                           0.7229568362236023F,
                                           1.0F};

/// The one that is nearest to v; the lower one halfway between two.
__device__ __forceinline__ float nearestNf4(float v) {
    float code = kNf4Values[0];
#pragma unroll
    for (int i = 1; i < 16; ++i)
        if (kNf4Values[i] - v < v - kNf4Values[i - 1])
            code = kNf4Values[i];
    return code;
}

}  // namespace fettle::kernels::cuda
