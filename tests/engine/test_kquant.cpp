// K-quants as Fettle chooses their codes: what they dequantize to is close, closer than a plain
// rounding, and closest where the inputs matter.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "engine/io/gguf_quantize.h"
#include "engine/io/kquant_encode.h"
#include "engine/quant/super_blocks.h"
#include "kernels/formats/weight_format.h"

namespace fettle {
namespace {

using kernels::WeightFormat;

constexpr std::int64_t kCols = 1024;

std::vector<float> randomRow(std::uint32_t seed, float spread) {
    std::mt19937 rng(seed);
    std::normal_distribution<float> normal(0, spread);
    std::vector<float> row(kCols);
    for (float& x : row)
        x = normal(rng);
    return row;
}

std::vector<float> roundTrip(WeightFormat format, const std::vector<float>& row,
                             const float* importance) {
    std::vector<std::byte> bytes(kernels::rowBytes(format, kCols));
    encodeKQuantRow(format, row.data(), importance, kCols, bytes.data());
    kernels::WeightView view;
    view.format = format;
    view.rows = 1;
    view.cols = kCols;
    view.data = bytes.data();
    std::vector<float> out(kCols);
    kernels::dequantizeRow(view, 0, out.data());
    return out;
}

double errorOf(const std::vector<float>& a, const std::vector<float>& b,
               const std::vector<float>* weights = nullptr) {
    double error = 0, power = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
        const double w = weights ? (*weights)[i] : 1, d = static_cast<double>(a[i]) - b[i];
        error += w * d * d;
        power += w * a[i] * a[i];
    }
    return std::sqrt(error / power);
}

TEST(KQuants, LoseNoMoreThanTheirBitsSay) {
    for (const float spread : {1e-3f, 0.05f, 3.0f})
        for (const auto& [format, most] : {std::pair{WeightFormat::Q3_K, 0.16},
                                           {WeightFormat::Q4_K, 0.075},
                                           {WeightFormat::Q5_K, 0.037},
                                           {WeightFormat::Q6_K, 0.020}}) {
            const std::vector<float> row = randomRow(7, spread);
            EXPECT_LT(errorOf(row, roundTrip(format, row, nullptr)), most)
                << kernels::name(format) << " " << spread;
        }
}

TEST(KQuants, AreCloserThanBlocksOfOneScale) {
    const std::vector<float> row = randomRow(11, 1);
    std::vector<std::byte> bytes(kernels::rowBytes(WeightFormat::Q4_0, kCols));
    encodeRow(WeightFormat::Q4_0, row.data(), kCols, bytes.data());
    kernels::WeightView view;
    view.format = WeightFormat::Q4_0;
    view.rows = 1;
    view.cols = kCols;
    view.data = bytes.data();
    std::vector<float> plain(kCols);
    kernels::dequantizeRow(view, 0, plain.data());
    EXPECT_LT(errorOf(row, roundTrip(WeightFormat::Q4_K, row, nullptr)), 0.9 * errorOf(row, plain));
}

TEST(KQuants, KeepCloserWhatMattersMore) {
    const std::vector<float> row = randomRow(5, 1);
    std::vector<float> importance(kCols, 0.01f);
    for (std::size_t i = 0; i < importance.size(); i += 8)
        importance[i] = 10;
    for (const WeightFormat format :
         {WeightFormat::Q3_K, WeightFormat::Q4_K, WeightFormat::Q5_K, WeightFormat::Q6_K}) {
        const double with = errorOf(row, roundTrip(format, row, importance.data()), &importance),
                     without = errorOf(row, roundTrip(format, row, nullptr), &importance);
        EXPECT_LT(with, 0.95 * without) << kernels::name(format);
    }
}

TEST(KQuants, TakeZerosConstantsAndUnseenInputs) {
    const std::vector<float> zeros(kCols, 0.0f), same(kCols, -0.25f), unseen(kCols, 0.0f);
    for (const auto& [format, most] : {std::pair{WeightFormat::Q3_K, 0.16},
                                       {WeightFormat::Q4_K, 0.08},
                                       {WeightFormat::Q5_K, 0.08},
                                       {WeightFormat::Q6_K, 0.08}}) {
        EXPECT_EQ(roundTrip(format, zeros, nullptr), zeros);
        EXPECT_LT(errorOf(same, roundTrip(format, same, nullptr)), 0.02) << kernels::name(format);
        const std::vector<float> row = randomRow(2, 1);
        EXPECT_LT(errorOf(row, roundTrip(format, row, unseen.data())), most)
            << kernels::name(format);
    }
}

TEST(SuperBlocks, GridsAndCodesSayWhatTheBlocksSay) {
    constexpr std::int64_t rows = 5;
    kernels::WorkerPool pool(2);
    NullProgress sink;
    RunControl control{{}, nullptr, sink};
    std::vector<float> values;
    for (unsigned r = 0; r < rows; ++r) {
        const std::vector<float> row =
            r == 3 ? std::vector<float>(kCols, 0.0f) : randomRow(20 + r, 0.3f);
        values.insert(values.end(), row.begin(), row.end());
    }
    for (const char* name : {"q3_k", "q4_k", "q5_k", "q6_k"}) {
        const QuantScheme scheme = *findQuantScheme(name);
        SuperBlocks blocks(scheme, values, rows, kCols, nullptr, pool, control);
        const std::vector<float> fitted = Weight(blocks.tensor()).toFloat();
        const std::vector<GroupGrid> grids = blocks.grids();
        ASSERT_EQ(grids.size(), static_cast<std::size_t>(rows * kCols / scheme.groupSize));
        const GroupQuantizer quantizer(scheme, ScaleSearch::Mse, DType::F16);
        // Codes chosen under the grids give the fit again, value by value.
        std::vector<std::int8_t> codes(values.size());
        for (std::size_t i = 0; i < values.size(); ++i) {
            const GroupGrid grid = grids[i / static_cast<std::size_t>(scheme.groupSize)];
            const float q = quantizer.codeOf(fitted[i], 1 / grid.scale, grid.shift);
            EXPECT_NEAR(q * grid.scale, fitted[i], 1e-5) << name << " " << i;
            codes[i] = quantizer.encode(q, grid.shift);
        }
        SuperBlocks again = blocks;
        again.setCodes(codes, pool);
        EXPECT_EQ(Weight(again.tensor()).toFloat(), fitted) << name;
        // And other codes come back as they were put in.
        for (std::size_t i = 0; i < codes.size(); ++i)
            codes[i] =
                static_cast<std::int8_t>(static_cast<int>(i * 7 % (std::size_t{1} << scheme.bits)) -
                                         (1 << (scheme.bits - 1)));
        again.setCodes(codes, pool);
        const std::vector<float> other = Weight(again.tensor()).toFloat();
        for (std::size_t i = 0; i < codes.size(); ++i) {
            const GroupGrid grid = grids[i / static_cast<std::size_t>(scheme.groupSize)];
            ASSERT_NEAR(other[i], grid.scale * (static_cast<float>(codes[i]) + grid.shift), 1e-5)
                << name << " " << i;
        }
    }
}

}  // namespace
}  // namespace fettle
