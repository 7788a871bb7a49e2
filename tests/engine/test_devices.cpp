// Which device a name stands for, and what is said where it cannot be used.
#include <gtest/gtest.h>

#include "engine/backend/backend.h"
#include "engine/core/devices.h"
#include "engine/core/error.h"
#include "kernels/cuda/driver.h"

namespace fettle {
namespace {

kernels::CudaDevice device(int major, int minor) {
    kernels::CudaDevice d;
    d.name = "test";
    d.major = major;
    d.minor = minor;
    return d;
}

TEST(CudaDevices, WhatTheKernelsWereCompiledForDecides) {
    const kernels::CudaBuild build = {13000, "80-real,86-real,89-real,90-real,100-real,120"};
    const auto problem = [&](int major, int minor, int driver = 13000) {
        return kernels::cudaProblem(device(major, minor), driver, build);
    };
    for (const auto& [major, minor] : {std::pair{8, 0},
                                       {8, 6},
                                       {8, 7},
                                       {8, 9},
                                       {9, 0},
                                       {10, 0},
                                       {10, 3},
                                       {12, 0},
                                       {12, 1},
                                       {13, 0}})
        EXPECT_EQ(problem(major, minor), "") << major << "." << minor;
    for (const auto& [major, minor] : {std::pair{7, 5}, {6, 1}, {11, 0}})
        EXPECT_NE(problem(major, minor).find("compute capability " + std::to_string(major)),
                  std::string::npos);
    EXPECT_EQ(problem(9, 0, 13010), "");
    EXPECT_EQ(problem(9, 0, 14000), "");
    EXPECT_NE(problem(9, 0, 12080).find("driver is too old: it serves CUDA 12.8"),
              std::string::npos);
    EXPECT_NE(kernels::cudaProblem(device(9, 0), 13000, {}).find("no CUDA backend"),
              std::string::npos);
    EXPECT_NE(kernels::cudaProblem(device(9, 0), 13000, {13000, "89-real"}), "");
    EXPECT_EQ(kernels::cudaProblem(device(9, 0), 13000, {13000, "80"}), "") << "PTX of an older";
}

TEST(CudaDevices, AskedForByNameItIsUsedOrRefusedNeverReplaced) {
    const std::vector<DeviceSummary> devices = listDevices();
    ASSERT_GE(devices.size(), 2U);
    EXPECT_EQ(devices[0].id, "cpu");
    for (const char* id : {"cuda", "cuda:0", "cuda:77"}) {
        const bool usable =
            devices[1].usable && std::string(id) != "cuda:77";  // nobody has so many
        if (usable) {
            EXPECT_EQ(chooseDevice(id).id, "cuda:0");
            continue;
        }
        try {
            makeBackend(id, 1);
            FAIL() << id << " was replaced";
        } catch (const EngineError& error) {
            EXPECT_EQ(error.kind(), ErrorKind::Device);
            EXPECT_GT(std::string(error.what()).size(), std::string(id).size() + 10);
        }
    }
}

TEST(CudaDevices, AutoFallsBackAndSaysWhy) {
    const DeviceSummary chosen = chooseDevice("auto");
    const bool usable = listDevices()[1].usable;
    EXPECT_EQ(chosen.id, usable ? "cuda:0" : "cpu");
    EXPECT_EQ(chosen.reason.empty(), usable);
    EXPECT_EQ(makeBackend("auto", 1)->device().id, chosen.id);
    EXPECT_THROW(chooseDevice("tpu"), EngineError);
}

TEST(CudaDevices, SeveralAreJoinedOrRefused) {
    DeviceSummary a = cpuDevice(), b = cpuDevice();
    a.id = "cuda:0";
    a.isa = "sm_80";
    a.memoryBytes = 5;
    b.id = "cuda:2";
    b.isa = "sm_90";
    b.memoryBytes = 7;
    const DeviceSummary both = joinedDevice({a, b});
    EXPECT_EQ(both.id, "cuda:0,cuda:2");
    EXPECT_EQ(both.isa, "sm_80,sm_90");
    EXPECT_EQ(both.memoryBytes, 12U);
    for (const char* ids : {"cpu,cpu", "cuda:0,cpu", "cuda:0,cuda:0", "cuda:0,cuda:77", "cuda:0,"})
        EXPECT_THROW(makeBackend(ids, 1), EngineError) << ids;
    EXPECT_EQ(chooseDevices("cpu").size(), 1U);
}

}  // namespace
}  // namespace fettle
