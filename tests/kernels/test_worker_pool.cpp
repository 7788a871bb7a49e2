#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include "kernels/ops/worker_pool.h"

namespace fettle::kernels {
namespace {

TEST(WorkerPool, ParallelForCoversEveryIndexOnceInWholeGrains) {
    WorkerPool pool(3);
    for (const std::int64_t count : {0, 1, 7, 64, 1000}) {
        for (const std::int64_t grain : {0, 1, 16, 5000}) {
            std::vector<int> seen(static_cast<std::size_t>(count),
                                  0);  // each index is written by one thread only
            pool.parallelFor(count, grain, [&](std::int64_t begin, std::int64_t end, int thread) {
                EXPECT_LT(begin, end);
                EXPECT_EQ(begin % std::max<std::int64_t>(1, grain), 0);
                EXPECT_LT(thread, 3);
                for (std::int64_t i = begin; i < end; ++i)
                    ++seen[static_cast<std::size_t>(i)];
            });
            EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), count);
        }
    }
}

TEST(WorkerPool, ExceptionReachesTheCallerAndThePoolGoesOn) {
    WorkerPool pool(4);
    for (std::int64_t culprit = 0; culprit < 40; ++culprit) {
        EXPECT_THROW(pool.parallelFor(40, 1,
                                      [&](std::int64_t begin, std::int64_t, int) {
                                          if (begin == culprit)
                                              throw std::runtime_error("no");
                                      }),
                     std::runtime_error);
        std::atomic<int> calls{0};
        pool.parallelFor(40, 1, [&](std::int64_t, std::int64_t, int) { ++calls; });
        EXPECT_EQ(calls, 40);
    }
    EXPECT_THROW(
        pool.parallelFor(100, 1,
                         [](std::int64_t, std::int64_t, int) { throw std::logic_error("all"); }),
        std::logic_error);
}

TEST(WorkerPool, MoreChunksThanATicketHoldsAreMadeLarger) {
    WorkerPool pool(3);
    std::atomic<std::int64_t> sum{0}, calls{0};
    pool.parallelFor(1'000'000, 3, [&](std::int64_t begin, std::int64_t end, int) {
        EXPECT_EQ(begin % 3, 0);
        sum += end - begin;
        ++calls;
    });
    EXPECT_EQ(sum, 1'000'000);
    EXPECT_GT(calls, 1000);
}

TEST(WorkerPool, WorksAfterItsThreadsFellAsleep) {
    WorkerPool pool(3);
    for (int i = 0; i < 3; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        std::atomic<int> sum{0};
        pool.parallelFor(300, 10, [&](std::int64_t begin, std::int64_t end, int) {
            sum += static_cast<int>(end - begin);
        });
        EXPECT_EQ(sum, 300);
    }
}

TEST(WorkerPool, MoreThreadsThanProcessorsAreHarmless) {
    WorkerPool pool(2 * static_cast<int>(std::thread::hardware_concurrency()) + 3);
    std::int64_t total = 0;
    for (int i = 0; i < 2000; ++i) {
        std::atomic<std::int64_t> sum{0};
        pool.parallelFor(64, 1,
                         [&](std::int64_t begin, std::int64_t end, int) { sum += end - begin; });
        total += sum;
    }
    EXPECT_EQ(total, 2000 * 64);
}

TEST(WorkerPool, WhoComesLateKeepsNobodyWaiting) {
    WorkerPool pool(3);
    // A call waits for no worker that has not come, and lets none in once it is over: short calls
    // in a row, now and then after the workers fell asleep.
    for (int round = 0; round < 2000; ++round) {
        std::array<std::atomic<int>, 7> seen{};
        pool.parallelFor(7, 1, [&](std::int64_t begin, std::int64_t end, int) {
            for (std::int64_t i = begin; i < end; ++i)
                seen[static_cast<std::size_t>(i)].fetch_add(1);
        });
        for (const std::atomic<int>& count : seen)
            ASSERT_EQ(count.load(), 1) << round;
        if (round % 500 == 0)
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
}

TEST(WorkerPool, PoolsInSeveralThreadsDoNotMeet) {
    std::vector<std::thread> callers;
    std::atomic<int> total{0};
    for (int c = 0; c < 3; ++c)
        callers.emplace_back([&] {
            WorkerPool pool(2);
            for (int i = 0; i < 200; ++i)
                pool.parallelFor(10, 1, [&](std::int64_t begin, std::int64_t end, int) {
                    total += static_cast<int>(end - begin);
                });
        });
    for (std::thread& t : callers)
        t.join();
    EXPECT_EQ(total, 3 * 200 * 10);
}

TEST(WorkerPool, DefaultTakesTheProcessorsOfThisProcess) {
    EXPECT_GE(WorkerPool().threads(), 1);
    EXPECT_LE(WorkerPool(0).threads(), static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace
}  // namespace fettle::kernels
