// The two CUDA types that launching functions show: a stream and a status, without CUDA's headers.
#pragma once

namespace fettle::kernels::cuda {

using Stream = void*;  ///< a cudaStream_t; nullptr is the default stream

/// A cudaError_t. Functions that queue kernels report what the launch said; errors of the kernel
/// itself come with the next synchronization.
using Status = int;
constexpr Status kSuccess = 0;
constexpr Status kInvalidValue = 1;  ///< cudaErrorInvalidValue: shapes the kernel does not take
constexpr Status kOutOfMemory = 2;   ///< cudaErrorMemoryAllocation

}  // namespace fettle::kernels::cuda
