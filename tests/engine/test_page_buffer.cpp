// Memory that comes when it is written and goes when it is released.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <new>
#include <utility>
#include <vector>

#include "engine/core/page_buffer.h"

namespace fettle {
namespace {

/// Pages of the buffer that take memory.
std::size_t residentPages(PageBuffer& buffer) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t bytes = buffer.size() * sizeof(float);
    std::vector<unsigned char> pages((bytes + page - 1) / page);
    EXPECT_EQ(mincore(buffer.data(), bytes, pages.data()), 0);
    return static_cast<std::size_t>(
        std::count_if(pages.begin(), pages.end(), [](unsigned char p) { return (p & 1) != 0; }));
}

TEST(PageBuffer, TakesMemoryOnlyForWhatIsInIt) {
    constexpr std::size_t kCount = std::size_t{1} << 20;
    PageBuffer buffer;
    EXPECT_EQ(buffer.size(), 0u);
    buffer.release();  // of nothing
    buffer.reset(kCount);
    EXPECT_EQ(residentPages(buffer), 0u);
    std::fill_n(buffer.data(), kCount, 3.0F);
    EXPECT_GE(residentPages(buffer), kCount * sizeof(float) / (std::size_t{1} << 16));
    buffer.fit(10);
    EXPECT_EQ(buffer.size(), kCount) << "there is room already";
    EXPECT_EQ(buffer.data()[kCount - 1], 3.0F);
    buffer.release();
    EXPECT_EQ(residentPages(buffer), 0u);
    EXPECT_EQ(buffer.size(), kCount);
    for (const float value : buffer.values())
        ASSERT_EQ(value, 0.0F);
}

TEST(PageBuffer, ResetMakesZerosAndMovesCarryThem) {
    PageBuffer buffer;
    buffer.reset(100);
    buffer.data()[7] = 1;
    buffer.reset(100);
    EXPECT_EQ(buffer.data()[7], 0.0F);
    buffer.data()[99] = 2;
    PageBuffer other = std::move(buffer);
    EXPECT_EQ(other.data()[99], 2.0F);
    buffer = std::move(other);
    EXPECT_EQ(buffer.size(), 100u);
    EXPECT_EQ(buffer.data()[99], 2.0F);
    buffer.reset(5000);
    EXPECT_EQ(*std::max_element(buffer.values().begin(), buffer.values().end()), 0.0F);
    buffer.reset(0);
    EXPECT_EQ(buffer.size(), 0u);
}

TEST(PageBuffer, MoreThanThereIsEndsInBadAlloc) {
    PageBuffer buffer;
    buffer.reset(100);
    EXPECT_THROW(buffer.reset(std::size_t{1} << 55), std::bad_alloc);
    EXPECT_EQ(buffer.size(), 0u);
}

}  // namespace
}  // namespace fettle
