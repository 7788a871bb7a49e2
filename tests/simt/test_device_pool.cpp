// The pool of device memory on ordinary memory.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "engine/backend/device_pool.h"

namespace fettle {
namespace {

class HostMemory : public DeviceMemory {
public:
    void* allocatePiece(std::size_t bytes) override {
        if (bytes > left)
            return nullptr;
        left -= bytes;
        void* piece = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
        m_sizes.emplace_back(piece, bytes);
        return piece;
    }
    void releasePiece(void* piece) override {
        std::erase_if(m_sizes, [&](const auto& entry) {
            left += entry.first == piece ? entry.second : 0;
            return entry.first == piece;
        });
        std::free(piece);
    }
    std::size_t pieces() const { return m_sizes.size(); }
    std::size_t left = std::size_t{1} << 30;

private:
    std::vector<std::pair<void*, std::size_t>> m_sizes;
};

TEST(DevicePool, BuffersNeverOverlapAndEverythingComesBack) {
    HostMemory memory;
    std::mt19937 rng(3);
    struct Held {
        unsigned char* at;
        std::size_t bytes;
        unsigned char mark;
    };
    {
        DevicePool pool(memory, 64 * 1024);
        std::vector<Held> held;
        for (int step = 0; step < 4000; ++step) {
            if (held.empty() || rng() % 5 < 3) {
                const std::size_t bytes = 1 + rng() % (rng() % 10 == 0 ? 100000 : 3000);
                const auto mark = static_cast<unsigned char>(rng());
                auto* at = static_cast<unsigned char*>(pool.allocate(bytes));
                ASSERT_NE(at, nullptr);
                ASSERT_EQ(reinterpret_cast<std::uintptr_t>(at) % 256, 0U);
                std::memset(at, mark, bytes);
                held.push_back({at, bytes, mark});
            } else {
                std::swap(held[rng() % held.size()], held.back());
                for (std::size_t i = 0; i < held.back().bytes; ++i)
                    ASSERT_EQ(held.back().at[i], held.back().mark);
                pool.release(held.back().at);
                held.pop_back();
            }
            ASSERT_LE(pool.used(), pool.reserved());
            ASSERT_GE(pool.peak(), pool.used());
        }
        for (const Held& h : held)
            pool.release(h.at);
        EXPECT_EQ(pool.used(), 0U);
        pool.resetPeak();
        EXPECT_EQ(pool.peak(), 0U);
        pool.trim();
        EXPECT_EQ(pool.reserved(), 0U);
        EXPECT_EQ(memory.pieces(), 0U);
    }
}

TEST(DevicePool, NeighboursJoinSoThatAWholePieceFitsAgain) {
    HostMemory memory;
    DevicePool pool(memory, 4096);
    void* parts[4] = {};
    for (void*& part : parts)
        part = pool.allocate(1024);
    EXPECT_EQ(memory.pieces(), 1U);
    for (const int i : {1, 3, 0, 2})
        pool.release(parts[i]);
    EXPECT_NE(pool.allocate(4096), nullptr);
    EXPECT_EQ(memory.pieces(), 1U);
}

TEST(DevicePool, UnusedPiecesGoBackBeforeMemoryIsSaidToBeOut) {
    HostMemory memory;
    memory.left = 10000;
    DevicePool pool(memory, 4096);
    void* small = pool.allocate(100);
    pool.release(small);
    EXPECT_NE(pool.allocate(8192), nullptr);  // the piece of 4096 had to go
    EXPECT_NE(pool.allocate(1024), nullptr);  // less than a piece is left: just the size
    EXPECT_EQ(pool.allocate(4096), nullptr);
}

}  // namespace
}  // namespace fettle
