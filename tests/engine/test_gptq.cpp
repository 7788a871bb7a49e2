// GPTQ: the identities its algebra promises, agreement with rounding to nearest where inputs are
// independent, and that it does not depend on blocks or threads.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/core/random.h"
#include "engine/quant/cholesky.h"
#include "engine/quant/gptq.h"
#include "engine/quant/rtn.h"

namespace fettle {
namespace {

std::vector<float> gaussian(std::int64_t count, std::uint64_t seed) {
    std::vector<float> values(static_cast<std::size_t>(count));
    Philox random(seed);
    for (float& value : values)
        value = static_cast<float>(std::sqrt(-2 * std::log(1 - random.uniform())) *
                                   std::cos(2 * M_PI * random.uniform()));
    return values;
}

Weight matrix(std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
    Tensor tensor = Tensor::allocate(DType::F32, {rows, cols});
    const std::vector<float> values = gaussian(rows * cols, seed);
    std::copy(values.begin(), values.end(), tensor.mutableAs<float>());
    return Weight(tensor);
}

/// Mean of x x^T of inputs whose neighbours are alike and whose channels differ in size.
std::vector<float> correlatedGram(std::int64_t cols, std::int64_t tokens) {
    const std::vector<float> noise = gaussian(cols * tokens, 99);
    std::vector<double> gram(static_cast<std::size_t>(cols * cols));
    std::vector<double> x(static_cast<std::size_t>(cols));
    for (std::int64_t t = 0; t < tokens; ++t) {
        double carried = 0;
        for (std::int64_t j = 0; j < cols; ++j) {
            carried = 0.8 * carried + noise[static_cast<std::size_t>(t * cols + j)];
            x[static_cast<std::size_t>(j)] = carried * (j % 7 == 0 ? 4 : 1);
        }
        for (std::int64_t i = 0; i < cols; ++i)
            for (std::int64_t j = 0; j < cols; ++j)
                gram[static_cast<std::size_t>(i * cols + j)] += x[static_cast<std::size_t>(i)] *
                                                                x[static_cast<std::size_t>(j)] /
                                                                static_cast<double>(tokens);
    }
    return {gram.begin(), gram.end()};
}

std::vector<float> diagonal(const std::vector<float>& gram, std::int64_t cols) {
    std::vector<float> out;
    for (std::int64_t j = 0; j < cols; ++j)
        out.push_back(gram[static_cast<std::size_t>(j * cols + j)]);
    return out;
}

double outputError(const Weight& w, const QuantizedTensor& quantized,
                   const std::vector<float>& gram, double damping) {
    const std::int64_t rows = quantized.rows, cols = quantized.cols;
    const std::vector<float> a = w.toFloat(), b = Weight(quantized).toFloat();
    double mean = 0, sum = 0;
    for (const float d : diagonal(gram, cols))
        mean += d / static_cast<double>(cols);
    for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t i = 0; i < cols; ++i)
            for (std::int64_t j = 0; j < cols; ++j) {
                const auto at = static_cast<std::size_t>(r * cols);
                const double h =
                    gram[static_cast<std::size_t>(i * cols + j)] + (i == j ? damping * mean : 0);
                sum += h *
                       (a[at + static_cast<std::size_t>(i)] - b[at + static_cast<std::size_t>(i)]) *
                       (a[at + static_cast<std::size_t>(j)] - b[at + static_cast<std::size_t>(j)]);
            }
    return sum;
}

class Gptq : public ::testing::Test {
protected:
    GptqResult quantize(const Weight& w, const std::vector<float>& gram, const std::string& scheme,
                        bool order = true, std::int64_t block = 64, int threads = 2) {
        kernels::WorkerPool team(threads);
        const std::int64_t cols = w.shape().at(1);
        const GptqFactor factor = factorInputs(gram, cols, 0.01, order, team, control);
        EXPECT_TRUE(factor.usable);
        GptqOptions options;
        options.scheme = *findQuantScheme(scheme);
        options.scaleType = DType::F32;
        options.block = block;
        return quantizeGptq("w", w, factor, diagonal(gram, cols), options, team, control);
    }
    RtnResult nearest(const Weight& w, const std::vector<float>& power, const std::string& scheme) {
        RtnOptions options;
        options.scheme = *findQuantScheme(scheme);
        options.scaleType = DType::F32;
        options.inputPower = &power;
        return quantizeRtn("w", w, options, pool, control);
    }
    kernels::WorkerPool pool{2};
    NullProgress sink;
    RunControl control{{}, nullptr, sink};
};

TEST_F(Gptq, CholeskyMultipliesBack) {
    for (const std::int64_t n : {1, 3, 64, 65, 200}) {
        const std::vector<float> gram = correlatedGram(n, 3 * n + 5);
        std::vector<float> factor = gram;
        ASSERT_TRUE(choleskyInPlace(factor.data(), n, pool, control)) << n;
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t j = 0; j <= i; ++j) {
                double sum = 0;
                for (std::int64_t k = 0; k <= j; ++k)
                    sum += static_cast<double>(factor[static_cast<std::size_t>(i * n + k)]) *
                           factor[static_cast<std::size_t>(j * n + k)];
                const double size = std::sqrt(gram[static_cast<std::size_t>(i * n + i)] *
                                              gram[static_cast<std::size_t>(j * n + j)]);
                ASSERT_NEAR(sum, gram[static_cast<std::size_t>(i * n + j)], 1e-5 * size);
            }
    }
}

TEST_F(Gptq, CholeskyRefusesWhatIsNotPositive) {
    std::vector<float> indefinite = {1, 2, 2, 1};
    EXPECT_FALSE(choleskyInPlace(indefinite.data(), 2, pool, control));
    std::vector<float> nothing(64, 0.0f);
    EXPECT_FALSE(factorInputs(nothing, 8, 0.01, true, pool, control).usable);
}

TEST_F(Gptq, IndependentInputsGiveRoundingToNearestExactly) {
    constexpr std::int64_t cols = 256;
    std::vector<float> identity(cols * cols);
    for (std::size_t j = 0; j < cols; ++j)
        identity[j * cols + j] = 1;
    const Weight w = matrix(37, cols, 1);
    const std::vector<float> ones(cols, 1.0f);
    for (const char* scheme :
         {"int4-g32", "int4-g128", "int4-g64-asym", "int8", "int3-g64", "int2-g32", "fp8",
          "fp8-tensor", "nvfp4", "mxfp4", "nf4", "mxfp6-w6a16"})
        EXPECT_EQ(Weight(quantize(w, identity, scheme).tensor).toFloat(),
                  Weight(nearest(w, ones, scheme).tensor).toFloat())
            << scheme;
}

TEST_F(Gptq, ReportedLossIsTheErrorOfTheOutputs) {
    constexpr std::int64_t cols = 128;
    const std::vector<float> gram = correlatedGram(cols, 600);
    const Weight w = matrix(24, cols, 2);
    for (const bool order : {false, true}) {
        const GptqResult result = quantize(w, gram, "int4-g32", order);
        const double error = outputError(w, result.tensor, gram, 0.01);
        EXPECT_NEAR(result.loss, error, 1e-3 * error);
    }
}

TEST_F(Gptq, OutputsAreCloserThanRoundedToNearest) {
    constexpr std::int64_t cols = 256;
    const std::vector<float> gram = correlatedGram(cols, 1500);
    const Weight w = matrix(64, cols, 3);
    for (const char* scheme : {"int4-g32", "int4-g128"}) {
        const double rtn = outputError(w, nearest(w, diagonal(gram, cols), scheme).tensor, gram, 0);
        EXPECT_LT(outputError(w, quantize(w, gram, scheme).tensor, gram, 0), 0.7 * rtn) << scheme;
    }
}

TEST_F(Gptq, BlocksAndThreadsChangeNothing) {
    constexpr std::int64_t cols = 192;
    const std::vector<float> gram = correlatedGram(cols, 900);
    const Weight w = matrix(50, cols, 4);
    const GptqResult whole = quantize(w, gram, "int4-g64");
    EXPECT_EQ(Weight(quantize(w, gram, "int4-g64", true, 64, 1).tensor).toFloat(),
              Weight(whole.tensor).toFloat());
    for (const std::int64_t block : {1, 32, 192}) {
        const GptqResult other = quantize(w, gram, "int4-g64", true, block);
        // Sums are taken in another order: a near-tie may fall to the other side, the loss stays.
        EXPECT_NEAR(other.loss, whole.loss, 0.01 * whole.loss) << block;
    }
}

TEST_F(Gptq, RefusesNaN) {
    Tensor tensor = Tensor::allocate(DType::F32, {4, 32});
    tensor.mutableAs<float>()[9] = std::nanf("");
    EXPECT_THROW(quantize(Weight(tensor), correlatedGram(32, 100), "int4-g32"), EngineError);
}

}  // namespace
}  // namespace fettle
