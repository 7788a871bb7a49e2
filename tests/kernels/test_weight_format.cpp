#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "kernels/formats/weight_format.h"

namespace fettle::kernels {
namespace {

std::uint32_t bitsOf(float x) {
    return std::bit_cast<std::uint32_t>(x);
}

TEST(HalfFloat, EveryCodeSurvivesTheRoundTrip) {
    for (std::uint32_t h = 0; h < 65536; ++h) {
        const auto code = static_cast<std::uint16_t>(h);
        const bool nan = (h & 0x7C00u) == 0x7C00u && (h & 0x3FFu);
        EXPECT_EQ(floatToHalf(halfToFloat(code)), nan ? code | 0x200u : code) << h;
    }
}

TEST(HalfFloat, ValuesFollowTheDefinition) {
    for (std::uint32_t h = 0; h < 0x7C00u; ++h) {
        const int exponent = static_cast<int>(h >> 10);
        const double mantissa = h & 0x3FFu;
        const double want =
            exponent ? std::ldexp(1024 + mantissa, exponent - 25) : std::ldexp(mantissa, -24);
        EXPECT_EQ(halfToFloat(static_cast<std::uint16_t>(h)), want) << h;
        EXPECT_EQ(halfToFloat(static_cast<std::uint16_t>(h | 0x8000u)), -want) << h;
    }
    EXPECT_EQ(halfToFloat(0x7C00), HUGE_VALF);
    EXPECT_EQ(halfToFloat(0xFC00), -HUGE_VALF);
}

TEST(HalfFloat, RoundsToNearestEven) {
    for (std::uint32_t h = 0; h + 1 < 0x7C00u; ++h) {
        const float low = halfToFloat(static_cast<std::uint16_t>(h));
        const float high = halfToFloat(static_cast<std::uint16_t>(h + 1));
        const float middle = low + (high - low) / 2;
        EXPECT_EQ(floatToHalf(middle), h % 2 ? h + 1 : h);
        EXPECT_EQ(floatToHalf(std::nextafter(middle, low)), h);
        EXPECT_EQ(floatToHalf(std::nextafter(middle, high)), h + 1);
    }
    EXPECT_EQ(floatToHalf(65519.996F), 0x7BFF);
    EXPECT_EQ(floatToHalf(65520.0F), 0x7C00);
    EXPECT_EQ(floatToHalf(1e30F), 0x7C00);
    EXPECT_EQ(floatToHalf(-0.0F), 0x8000);
    EXPECT_EQ(floatToHalf(1e-30F), 0);
}

TEST(Bfloat16, EveryCodeSurvivesAndTiesGoToEven) {
    for (std::uint32_t b = 0; b < 65536; ++b) {
        const auto code = static_cast<std::uint16_t>(b);
        const bool nan = (b & 0x7F80u) == 0x7F80u && (b & 0x7Fu);
        EXPECT_EQ(floatToBfloat16(bfloat16ToFloat(code)), nan ? code | 0x40u : code);
        if ((b & 0x7F80u) == 0x7F80u)
            continue;
        const std::uint32_t up = b + 1;
        EXPECT_EQ(floatToBfloat16(std::bit_cast<float>(b << 16 | 0x8000u)), b % 2 ? up : b);
        EXPECT_EQ(floatToBfloat16(std::bit_cast<float>(b << 16 | 0x7FFFu)), b);
        EXPECT_EQ(floatToBfloat16(std::bit_cast<float>(b << 16 | 0x8001u)), up);
    }
}

TEST(WeightFormat, SizesFollowTheBlockLayouts) {
    EXPECT_EQ(rowBytes(WeightFormat::Q8_0, 64), 68u);
    EXPECT_EQ(rowBytes(WeightFormat::Q4_K, 512), 288u);
    EXPECT_EQ(rowBytes(WeightFormat::Q3_K, 512), 220u);
    EXPECT_EQ(rowBytes(WeightFormat::Q6_K, 256), 210u);
    EXPECT_EQ(rowBytes(WeightFormat::Int4Group, 64), 32u);
    EXPECT_EQ(rowBytes(WeightFormat::BF16, 7), 14u);
    EXPECT_STREQ(name(WeightFormat::Q5_1), "Q5_1");
}

TEST(WeightFormat, Int4GroupReadsNibblesScalesAndZeroPoints) {
    const std::uint32_t words[4] = {0x76543210u, 0xFEDCBA98u, 0, 0};  // two rows of 16
    const float scales[4] = {2.0F, 0.5F, 3.0F, 4.0F};                 // groups of 8
    const std::int32_t zeros[2] = {0x31, 0x42};                       // row 0: 1, 2; row 1: 3, 4
    WeightView w;
    w.format = WeightFormat::Int4Group;
    w.rows = 2;
    w.cols = 16;
    w.data = words;
    w.scales = scales;
    w.groupSize = 8;
    float row[16];
    dequantizeRow(w, 0, row);
    for (int k = 0; k < 16; ++k)
        EXPECT_EQ(row[k], (k < 8 ? 2.0F : 0.5F) * static_cast<float>(k - 8));
    w.zeroPoints = zeros;
    dequantizeRow(w, 0, row);
    for (int k = 0; k < 16; ++k)
        EXPECT_EQ(row[k],
                  k < 8 ? 2.0F * static_cast<float>(k - 1) : 0.5F * static_cast<float>(k - 2));
    dequantizeRow(w, 1, row);
    EXPECT_EQ(row[0], -9.0F);
    EXPECT_EQ(row[8], -16.0F);
}

/// The few parts of a GGUF file the goldens use: names, shapes, types, offsets; see docs of GGUF
/// v3.
struct GoldenFile {
    struct Entry {
        std::string name;
        std::uint64_t cols = 1, rows = 1, offset = 0;
    };
    std::vector<char> bytes;
    std::vector<Entry> entries;
    std::size_t at = 0, dataStart = 0;

    template <class T>
    T take() {
        T v;
        std::memcpy(&v, bytes.data() + at, sizeof v);
        at += sizeof v;
        return v;
    }
    std::string text() {
        const auto size = take<std::uint64_t>();
        std::string s(bytes.data() + at, size);
        at += size;
        return s;
    }
    void skipValue(std::uint32_t type) {
        constexpr std::size_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
        if (type == 8) {
            text();
        } else if (type == 9) {
            const auto element = take<std::uint32_t>();
            for (auto n = take<std::uint64_t>(); n > 0; --n)
                skipValue(element);
        } else {
            at += sizes[type];
        }
    }
    bool load(const std::filesystem::path& path) {
        std::ifstream in(path, std::ios::binary);
        bytes.assign(std::istreambuf_iterator<char>(in), {});
        if (bytes.size() < 24 || take<std::uint32_t>() != 0x46554747u)
            return false;
        take<std::uint32_t>();
        entries.resize(take<std::uint64_t>());
        for (auto n = take<std::uint64_t>(); n > 0; --n) {
            text();
            skipValue(take<std::uint32_t>());
        }
        for (Entry& e : entries) {
            e.name = text();
            const auto dims = take<std::uint32_t>();
            e.cols = take<std::uint64_t>();
            for (std::uint32_t d = 1; d < dims; ++d)
                e.rows *= take<std::uint64_t>();
            take<std::uint32_t>();
            e.offset = take<std::uint64_t>();
        }
        dataStart = (at + 31) / 32 * 32;
        return true;
    }
};

TEST(WeightFormat, DequantizesBitForBitLikeTheGgufPackage) {
    const std::filesystem::path folder = std::filesystem::path(FETTLE_TEST_DATA) / "goldens";
    GoldenFile file;
    if (!std::filesystem::exists(folder / "dequant.gguf"))
        GTEST_SKIP() << "no goldens in " << folder;
    ASSERT_TRUE(file.load(folder / "dequant.gguf"));
    std::ifstream in(folder / "dequant.f32.bin", std::ios::binary);
    const std::vector<char> want(std::istreambuf_iterator<char>(in), {});
    const std::map<std::string, WeightFormat> formats = {
        {"f32", WeightFormat::F32},   {"f16", WeightFormat::F16},   {"bf16", WeightFormat::BF16},
        {"q8_0", WeightFormat::Q8_0}, {"q4_0", WeightFormat::Q4_0}, {"q4_1", WeightFormat::Q4_1},
        {"q5_0", WeightFormat::Q5_0}, {"q5_1", WeightFormat::Q5_1}, {"q4_k", WeightFormat::Q4_K},
        {"q5_k", WeightFormat::Q5_K}, {"q6_k", WeightFormat::Q6_K}, {"q3_k", WeightFormat::Q3_K}};
    std::size_t offset = 0;
    for (const GoldenFile::Entry& e : file.entries) {
        ASSERT_TRUE(formats.contains(e.name)) << e.name;
        WeightView w;
        w.format = formats.at(e.name);
        w.rows = static_cast<std::int64_t>(e.rows);
        w.cols = static_cast<std::int64_t>(e.cols);
        w.data = file.bytes.data() + file.dataStart + e.offset;
        std::vector<float> row(e.cols);
        for (std::int64_t r = 0; r < w.rows; ++r) {
            dequantizeRow(w, r, row.data());
            for (const float value : row) {
                float expected;
                ASSERT_LE(offset + 4, want.size());
                std::memcpy(&expected, want.data() + offset, 4);
                offset += 4;
                ASSERT_EQ(bitsOf(value), bitsOf(expected)) << e.name << " row " << r;
            }
        }
    }
    EXPECT_EQ(offset, want.size());
}

}  // namespace
}  // namespace fettle::kernels
