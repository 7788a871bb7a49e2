// The emulator itself: it computes what the CUDA and PTX manuals say, and it refuses kernels that
// are wrong, each of them wrong on purpose in one way.
#include <gtest/gtest.h>

#include "kernels/cuda/tensor_core.cuh"
#include "tests/simt/emulator/device_array.h"
#include "tests/simt/orders.h"

namespace fettle::simt {
namespace {

using kernels::cuda::launch;

/// The defect that `body` is refused for, in every order and with the memory check on or off.
template <class Body>
void expectRefused(Defect defect, const std::string& part, Body body) {
    for (const Order order : kOrders) {
        for (const bool check : {true, false}) {
            if (!check && (defect == Defect::Race || defect == Defect::UninitialisedRead))
                continue;
            const OptionScope scope({.order = order, .checkMemory = check});
            try {
                body();
                ADD_FAILURE() << "not noticed in " << name(order) << " order";
            } catch (const Finding& finding) {
                EXPECT_EQ(finding.defect(), defect) << finding.what();
                EXPECT_NE(std::string(finding.what()).find(part), std::string::npos)
                    << finding.what();
            }
        }
    }
}

// ---- the language

__global__ void shuffleKernel(int* out) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    int* at = out + threadIdx.x * 8;
    at[0] = __shfl_sync(0xffffffffU, lane, 5);
    at[1] = __shfl_up_sync(0xffffffffU, lane, 3);
    at[2] = __shfl_down_sync(0xffffffffU, lane, 3);
    at[3] = __shfl_xor_sync(0xffffffffU, lane, 9);
    at[4] = __shfl_sync(0xffffffffU, lane, 9, 8);
    at[5] = __shfl_down_sync(0xffffffffU, lane, 3, 8);
    at[6] = static_cast<int>(__ballot_sync(0xffffffffU, lane % 3 == 0));
    at[7] = __any_sync(0xffffffffU, lane == 7) * 2 + __all_sync(0xffffffffU, lane < 31);
}

TEST(Emulator, ShufflesAndVotesAreThoseOfTheManual) {
    const std::vector<int> got = inEveryOrder([] {
        DeviceArray<int> out(64 * 8);
        launch(shuffleKernel, 1, 64, 0, nullptr, out.data());
        return out.values();
    });
    int ballot = 0;
    for (int lane = 0; lane < 32; lane += 3)
        ballot |= static_cast<int>(1U << lane);
    for (int thread = 0; thread < 64; ++thread) {
        const int lane = thread % 32, first = lane / 8 * 8;
        const std::vector<int> want = {5,
                                       lane < 3 ? lane : lane - 3,
                                       lane > 28 ? lane : lane + 3,
                                       lane ^ 9,
                                       first + 1,
                                       lane + 3 < first + 8 ? lane + 3 : lane,
                                       ballot,
                                       2};
        for (std::size_t i = 0; i < 8; ++i)
            EXPECT_EQ(got[static_cast<std::size_t>(thread) * 8 + i], want[i])
                << "lane " << lane << " value " << i;
    }
}

__global__ void halfWarpKernel(int* out) {
    const int lane = static_cast<int>(threadIdx.x);
    const unsigned mask = lane < 16 ? 0x0000ffffU : 0xffff0000U;
    int v = lane;
    if (lane < 16)
        v = __shfl_xor_sync(mask, v, 1);
    else
        v = __shfl_xor_sync(mask, v, 2);
    out[lane] = v;
}

TEST(Emulator, HalvesOfAWarpMayGoTheirOwnWays) {
    const std::vector<int> got = inEveryOrder([] {
        DeviceArray<int> out(32);
        launch(halfWarpKernel, 1, 32, 0, nullptr, out.data());
        return out.values();
    });
    for (int lane = 0; lane < 32; ++lane)
        EXPECT_EQ(got[static_cast<std::size_t>(lane)], lane < 16 ? lane ^ 1 : lane ^ 2);
}

__global__ void integerKernel(const int* a, const int* b, int* sum, int* most) {
    const int v = __dp4a(a[threadIdx.x], b[threadIdx.x], 3);
    atomicAdd(sum, v);
    atomicMax(most, v);
}

TEST(Emulator, DotProductsAndAtomics) {
    DeviceArray<int> a(std::vector<int>{0x01ff7f80, -1}),
        b(std::vector<int>{0x02fe8180, 0x01020304});
    DeviceArray<int> sum(std::vector<int>{0}), most(std::vector<int>{-1000});
    launch(integerKernel, 1, 2, 0, nullptr, a.data(), b.data(), sum.data(), most.data());
    // 1*2 + -1*-2 + 127*-127 + -128*-128 + 3 and -(1 + 2 + 3 + 4) + 3
    EXPECT_EQ(sum.values()[0], 262 + -7);
    EXPECT_EQ(most.values()[0], 262);
}

__global__ void indexKernel(int* out) {
    const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
    out[block * threads + thread] = static_cast<int>(block * threads + thread);
}

TEST(Emulator, EveryThreadOfEveryBlockRunsOnce) {
    const std::vector<int> got = inEveryOrder([] {
        DeviceArray<int> out(std::size_t{2 * 3 * 4 * 5 * 3 * 2});
        launch(indexKernel, dim3(2, 3, 4), dim3(5, 3, 2), 0, nullptr, out.data());
        return out.values();
    });
    for (std::size_t i = 0; i < got.size(); ++i)
        EXPECT_EQ(got[i], static_cast<int>(i));
}

__global__ void earlyEndKernel(int* out) {
    if (threadIdx.x >= 40)
        return;
    __syncthreads();
    out[threadIdx.x] = 1;
}

TEST(Emulator, ThreadsThatHaveEndedHoldNoBarrierUp) {
    DeviceArray<int> out(40);
    launch(earlyEndKernel, 1, 64, 0, nullptr, out.data());
    EXPECT_EQ(out.values(), std::vector<int>(40, 1));
}

// ---- wrong kernels

/// 0: right; 1: no barrier between writing and reading; 2: none between reading and writing again.
template <int Wrong>
__global__ void exchangeKernel(float* out) {
    FETTLE_SHARED(float, cell, 64);
    float sum = 0;
    for (int round = 0; round < 3; ++round) {
        cell[threadIdx.x] = static_cast<float>(threadIdx.x + static_cast<unsigned>(round));
        if (Wrong != 1)
            __syncthreads();
        sum += cell[63 - threadIdx.x];
        if (Wrong != 2)
            __syncthreads();
    }
    out[threadIdx.x] = sum;
}

template <int Wrong>
std::vector<float> exchange() {
    DeviceArray<float> out(64);
    launch(exchangeKernel<Wrong>, 1, 64, 0, nullptr, out.data());
    return out.values();
}

TEST(Emulator, MissingBarriersAreRaces) {
    const std::vector<float> right = inEveryOrder(exchange<0>);
    EXPECT_EQ(right[0], 3 * 63 + 3);
    for (const Order order : kOrders) {
        const OptionScope scope({.order = order});
        EXPECT_THROW(exchange<1>(), Finding);  // a race, or a read before the write, by order
    }
    expectRefused(Defect::Race, "no barrier between", exchange<2>);
    // Without the memory check the result shows it, if threads run in the order that hurts.
    const auto differs = [&](Order order, auto body) {
        const OptionScope scope({.order = order, .checkMemory = false});
        return !sameBits(body(), right);
    };
    EXPECT_TRUE(differs(Order::Plain, exchange<1>));
    EXPECT_TRUE(differs(Order::Greedy, exchange<2>));
}

template <bool Synchronize>
__global__ void warpExchangeKernel(float* out) {
    FETTLE_SHARED(float, cell, 32);
    cell[threadIdx.x] = 1.0F;
    if (Synchronize)
        __syncwarp();
    out[threadIdx.x] = cell[31 - threadIdx.x];
}

TEST(Emulator, LanesOfAWarpAreNotInStep) {
    DeviceArray<float> out(32);
    launch(warpExchangeKernel<true>, 1, 32, 0, nullptr, out.data());
    EXPECT_EQ(out.values(), std::vector<float>(32, 1.0F));
    EXPECT_THROW(launch(warpExchangeKernel<false>, 1, 32, 0, nullptr, out.data()), Finding);
}

__global__ void unwrittenKernel(float* out) {
    FETTLE_DYNAMIC_SHARED(float, cell);
    out[threadIdx.x] = cell[threadIdx.x];
}

TEST(Emulator, SharedMemoryIsReadOnlyAfterAWrite) {
    DeviceArray<float> out(8);
    expectRefused(Defect::UninitialisedRead, "before any write",
                  [&] { launch(unwrittenKernel, 1, 8, 8 * sizeof(float), nullptr, out.data()); });
    // Unchecked it is poison, not a zero that would pass for a value.
    const OptionScope scope({.checkMemory = false});
    launch(unwrittenKernel, 1, 8, 8 * sizeof(float), nullptr, out.data());
    EXPECT_TRUE(std::isnan(out.values()[3]));
}

__global__ void overflowKernel(float* out, int at) {
    FETTLE_SHARED(float, cell, 32);
    FETTLE_DYNAMIC_SHARED(float, dynamic);
    if (threadIdx.x == 0) {
        if (at < 0)
            cell[at] = 1.0F;
        else
            dynamic[at] = 1.0F;
    }
    out[threadIdx.x] = 0;
}

TEST(Emulator, SharedMemoryHasBounds) {
    DeviceArray<float> out(32);
    for (const int at : {-1, 10, 1000})
        expectRefused(Defect::OutOfBounds, "shared memory is written", [&] {
            launch(overflowKernel, 1, 32, 10 * sizeof(float), nullptr, out.data(), at);
        });
    launch(overflowKernel, 1, 32, 10 * sizeof(float), nullptr, out.data(), 9);
}

__global__ void fillKernel(float* out) {
    out[blockIdx.x * blockDim.x + threadIdx.x] = 1;
}

__global__ void writeAtKernel(float* out, int at) {
    out[at] = 1;
}

TEST(Emulator, DeviceMemoryHasBounds) {
    const auto overrun = [] {
        DeviceArray<float> out(33);
        launch(fillKernel, 2, 32, 0, nullptr, out.data());
    };
    const auto underrun = [] {
        DeviceArray<float> out(33);
        launch(writeAtKernel, 1, 1, 0, nullptr, out.data(), -1);
    };
#ifdef __SANITIZE_ADDRESS__
    EXPECT_DEATH(overrun(), "use-after-poison");
    EXPECT_DEATH(underrun(), "use-after-poison");
#else
    expectRefused(Defect::OutOfBounds, "behind 132 bytes", overrun);
    expectRefused(Defect::OutOfBounds, "in front of 132 bytes", underrun);
#endif
}

__global__ void neighbourKernel(const float* in, float* out, int offset) {
    const int i = static_cast<int>(threadIdx.x);
    out[i] = in[i + offset];
}

/// Neighbours of 8 values, of which `written` are written.
std::vector<float> neighbours(int offset, std::size_t written) {
    DeviceArray<float> in(8), out(8);
    std::fill_n(in.data(), written, 2.0F);
    launch(neighbourKernel, 1, 8, 0, nullptr, in.data(), out.data(), offset);
    return out.values();
}

TEST(Emulator, WhatNobodyWroteIsSeenWhenItIsRead) {
    const auto differs = [](int offset, std::size_t written) {
        const auto body = [&] { return neighbours(offset, written); };
        return !sameBits(underOtherMemory(body), body());
    };
    EXPECT_FALSE(differs(0, 8));
    EXPECT_TRUE(differs(0, 7)) << "the last value was never written";
#ifdef __SANITIZE_ADDRESS__
    EXPECT_DEATH(neighbours(1, 8), "use-after-poison");
    EXPECT_DEATH(neighbours(-1, 8), "use-after-poison");
#else
    EXPECT_TRUE(differs(1, 8)) << "the last value lies behind the array";
    EXPECT_TRUE(differs(-1, 8)) << "the first value lies in front of the array";
#endif
    // As a value it is no zero that would pass for one.
    EXPECT_TRUE(std::isnan(neighbours(0, 7)[7]));
}

__global__ void divergentKernel(float* out) {
    if (threadIdx.x < 16)
        __syncthreads();
    else
        out[threadIdx.x] = __shfl_xor_sync(0xffffffffU, 1.0F, 1);
}
__global__ void twoBarriersKernel(float* out) {
    if (threadIdx.x < 32)
        __syncthreads();
    else
        __syncthreads();
    out[threadIdx.x] = 1;
}

TEST(Emulator, DivergenceIsADeadlockThatSaysWhoWaitsWhere) {
    DeviceArray<float> out(64);
    expectRefused(Defect::Deadlock, "16 threads at the barrier at test_emulator.cpp:", [&] {
        launch(divergentKernel, 1, 32, 0, nullptr, out.data());
    });
    expectRefused(Defect::DivergentBarrier, "different barriers",
                  [&] { launch(twoBarriersKernel, 1, 64, 0, nullptr, out.data()); });
}

/// 0: a lane leaves itself out; 1: reads a lane outside the mask; 2: names a lane that has ended;
/// 3: lanes meet in different ops.
__global__ void maskKernel(int* out, int wrong) {
    const int lane = static_cast<int>(threadIdx.x);
    if (wrong == 2 && lane == 3)
        return;
    int v = lane;
    if (wrong == 0)
        v = __any_sync(0xfffffffeU, v);
    else if (wrong == 1 && lane < 16)
        v = __shfl_sync(0x0000ffffU, v, 20);
    else if (wrong == 2)
        v = __shfl_xor_sync(0xffffffffU, v, 1);
    else if (wrong == 3 && lane < 16)
        v = __any_sync(0xffffffffU, v);
    else if (wrong == 3)
        v = __all_sync(0xffffffffU, v);
    out[lane] = v;
}

TEST(Emulator, MasksNameExactlyTheLanesThatCome) {
    DeviceArray<int> out(32);
    const std::vector<std::string> parts = {"not in its own mask", "which the mask does not name",
                                            "", "different collectives"};
    for (const int wrong : {0, 1, 3})
        expectRefused(Defect::WarpMask, parts[static_cast<std::size_t>(wrong)],
                      [&] { launch(maskKernel, 1, 32, 0, nullptr, out.data(), wrong); });
    // A lane that ends is met as ended or waited for in vain, as the order has it.
    for (const Order order : kOrders) {
        const OptionScope scope({.order = order});
        EXPECT_THROW(launch(maskKernel, 1, 32, 0, nullptr, out.data(), 2), Finding);
    }
    // The block has no lanes 20 to 31.
    expectRefused(Defect::WarpMask, "",
                  [&] { launch(maskKernel, 1, 20, 0, nullptr, out.data(), 3); });
}

TEST(Emulator, LaunchesKeepTheLimits) {
    DeviceArray<float> out(1);
    const auto refused = [&](dim3 grid, dim3 block, std::size_t shared, const std::string& part) {
        expectRefused(Defect::IllegalLaunch, part,
                      [&] { launch(fillKernel, grid, block, shared, nullptr, out.data()); });
    };
    refused(1, 1025, 0, "1025 x 1 x 1 threads");
    refused(1, dim3(32, 33), 0, "32 x 33 x 1 threads");
    refused(1, dim3(1, 1, 65), 0, "64 deep");
    refused(dim3(1, 65536), 1, 0, "65535");
    refused(0, 1, 0, "is 0");
    refused(1, 1, 50000, "50000 bytes");
    expectRefused(Defect::IllegalLaunch, "the launch gives none",
                  [&] { launch(unwrittenKernel, 1, 1, 0, nullptr, out.data()); });
}

__global__ void vectorKernel(const float* in, float* out) {
    out[0] = static_cast<float>(kernels::cuda::load16(in + 1).x);
}

struct TwoPointers {
    const float* in;
    float* out;

    template <class Check>
    void forEachPointer(Check check) const {
        check(in);
        check(out);
    }
};
__global__ void structKernel(TwoPointers pointers) {
    pointers.out[threadIdx.x] = pointers.in[threadIdx.x];
}

TEST(Emulator, PointersMustBeOfTheDeviceAndAligned) {
    std::vector<float> host(32);
    DeviceArray<float> device(32);
    expectRefused(Defect::HostPointer, "argument 1",
                  [&] { launch(fillKernel, 1, 32, 0, nullptr, host.data()); });
    for (const TwoPointers& wrong :
         {TwoPointers{host.data(), device.data()}, TwoPointers{device.data(), host.data()}})
        expectRefused(Defect::HostPointer, "argument 1",
                      [&] { launch(structKernel, 1, 32, 0, nullptr, wrong); });
    const float* freed = DeviceArray<float>(32).data();
    expectRefused(Defect::HostPointer, "argument 1",
                  [&] { launch(neighbourKernel, 1, 8, 0, nullptr, freed, device.data(), 0); });
    expectRefused(Defect::Misaligned, "16 bytes",
                  [&] { launch(vectorKernel, 1, 1, 0, nullptr, device.data(), device.data()); });
}

// ---- tensor cores and copies

using kernels::cuda::LeftTile;
using kernels::cuda::RightTile;
using kernels::cuda::Tile16x8;

/// c = a b + c by way of shared memory: a [16, 16], b as [8, 16] columns, c [16, 8].
__global__ void productKernel(const std::uint16_t* a, const std::uint16_t* b, bool transposed,
                              float* c) {
    FETTLE_SHARED(std::uint16_t, left, 16 * 16);
    FETTLE_SHARED(std::uint16_t, right, 16 * 16);
    const int lane = static_cast<int>(threadIdx.x);
    for (int i = lane; i < 256; i += 32) {
        left[i] = a[i];
        right[i] = b[i];
    }
    __syncthreads();
    const LeftTile l = kernels::cuda::loadLeft(
        [&](int row, int chunk) { return left + row * 16 + chunk * 8; }, 0, 0);
    RightTile r;
    if (transposed) {
        unsigned words[4];
        kernels::cuda::loadTransposed(words, right + lane % 16 * 16 + lane / 16 * 8);
        r = {{words[0], words[1]}};
    } else {
        RightTile both[2];
        kernels::cuda::loadRight([&](int row, int chunk) { return right + row * 16 + chunk * 8; },
                                 0, 0, both);
        r = both[0];
    }
    Tile16x8 sum;
    for (int i = 0; i < 4; ++i)
        sum.values[i] = 100;
    kernels::cuda::multiplyTiles(sum, l, r);
    for (int i = 0; i < 4; ++i)
        c[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sum.values[i];
}

TEST(Emulator, TensorCoresMultiplyInTheLayoutOfTheManual) {
    std::vector<std::uint16_t> a(256), b(256), bTurned(256);
    std::vector<int> ints(512);
    for (int i = 0; i < 512; ++i)
        ints[static_cast<std::size_t>(i)] = i * 37 % 23 - 11;
    for (int r = 0; r < 16; ++r)
        for (int k = 0; k < 16; ++k) {
            const auto at = static_cast<std::size_t>(16 * r + k);
            a[at] = kernels::floatToHalf(static_cast<float>(ints[at]));
            b[at] = kernels::floatToHalf(static_cast<float>(ints[256 + at]));
            bTurned[static_cast<std::size_t>(16 * k + r)] = b[at];
        }
    for (const bool transposed : {false, true}) {
        const std::vector<float> got = inEveryOrder([&] {
            DeviceArray<std::uint16_t> da(a), db(transposed ? bTurned : b);
            DeviceArray<float> c(16 * 8);
            launch(productKernel, 1, 32, 0, nullptr, da.data(), db.data(), transposed, c.data());
            return c.values();
        });
        for (std::size_t r = 0; r < 16; ++r)
            for (std::size_t n = 0; n < 8; ++n) {
                int want = 100;
                for (std::size_t k = 0; k < 16; ++k)
                    want += ints[16 * r + k] * ints[256 + 16 * n + k];
                EXPECT_EQ(got[8 * r + n], static_cast<float>(want)) << r << " " << n;
            }
    }
}

enum class CopyMistake { None, NoWait, NoBarrier, Overwrites, TooFewGroups };

/// Each thread copies eight values, two groups; then everybody reads its neighbour's.
__global__ void copyKernel(const std::uint16_t* from, CopyMistake mistake, std::uint16_t* to) {
    FETTLE_SHARED(std::uint16_t, tile, 2 * 64 * 8);
    const int thread = static_cast<int>(threadIdx.x);
    kernels::cuda::copy16(tile + thread * 8, from + thread * 8, true);
    kernels::cuda::commitCopies();
    kernels::cuda::copy16(tile + (64 + thread) * 8, from, false);
    kernels::cuda::commitCopies();
    if (mistake == CopyMistake::TooFewGroups)
        kernels::cuda::waitForCopies<2>();
    else if (mistake != CopyMistake::NoWait)
        kernels::cuda::waitForCopies<1>();
    if (mistake != CopyMistake::NoBarrier)
        __syncthreads();
    to[2 * thread] = tile[(thread + 40) % 64 * 8 + 3];
    if (mistake == CopyMistake::Overwrites)
        kernels::cuda::copy16(tile + thread * 8, from, true);
    kernels::cuda::waitForCopies<0>();
    to[2 * thread + 1] = tile[(64 + thread) * 8 + 5];
}

std::vector<std::uint16_t> copied(CopyMistake mistake) {
    std::vector<std::uint16_t> values(64 * 8);
    for (std::size_t i = 0; i < values.size(); ++i)
        values[i] = static_cast<std::uint16_t>(i + 1);
    DeviceArray<std::uint16_t> from(values), to(128);
    launch(copyKernel, 1, 64, 0, nullptr, from.data(), mistake, to.data());
    return to.values();
}

TEST(Emulator, CopiesArriveWhenTheyAreWaitedFor) {
    const std::vector<std::uint16_t> got = inEveryOrder([] { return copied(CopyMistake::None); });
    for (int t = 0; t < 64; ++t) {
        EXPECT_EQ(got[static_cast<std::size_t>(2 * t)], (t + 40) % 64 * 8 + 4);
        EXPECT_EQ(got[static_cast<std::size_t>(2 * t + 1)], 0);
    }
    for (const CopyMistake mistake :
         {CopyMistake::NoWait, CopyMistake::Overwrites, CopyMistake::TooFewGroups})
        expectRefused(Defect::Race, "shared memory", [&] { copied(mistake); });
    for (const Order order : kOrders) {
        const OptionScope scope({.order = order});
        EXPECT_THROW(copied(CopyMistake::NoBarrier), Finding);  // a race, or nothing there yet
    }
    // Without the check of memory, what was there before is seen.
    const OptionScope scope({.checkMemory = false});
    EXPECT_EQ(copied(CopyMistake::NoWait)[0], 0xffff);
}

TEST(Emulator, CopiesAndMatricesAreAligned) {
    const auto misplaced = [](const std::uint16_t* from, int offset) {
        FETTLE_SHARED(std::uint16_t, tile, 64);
        kernels::cuda::copy16(tile + offset, from + offset, true);
    };
    DeviceArray<std::uint16_t> from(64);
    void (*kernel)(const std::uint16_t*, int) = misplaced;
    expectRefused(Defect::Misaligned, "16 bytes",
                  [&] { launch(kernel, 1, 32, 0, nullptr, from.data(), 4); });
}

}  // namespace
}  // namespace fettle::simt
