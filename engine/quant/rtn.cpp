#include "engine/quant/rtn.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "engine/core/error.h"

namespace fettle {

namespace {

// Grid of clipping ratios around absmax. Below one the largest weights are clipped for finer steps;
// slightly above one is there because int4 has one more code on the negative side, and because
// stored scales are rounded.
constexpr float kFirstRatio = 0.50f;
constexpr float kLastRatio = 1.05f;
constexpr float kRatioStep = 0.025f;
// The smallest normal float16: a smaller scale would lose bits or flush to zero when stored.
constexpr float kSmallestScale = 6.103515625e-05f;
// Adding and subtracting 1.5 * 2^23 rounds to the nearest integer, ties to even, and vectorizes
// everywhere.
constexpr float kRoundMagic = 12582912.0f;

inline float roundToEven(float x) {
    return (x + kRoundMagic) - kRoundMagic;
}

float storedScale(float scale, DType type) {
    switch (type) {
        case DType::F16:
            return kernels::halfToFloat(kernels::floatToHalf(std::max(scale, kSmallestScale)));
        case DType::BF16:
            return kernels::bfloat16ToFloat(kernels::floatToBfloat16(scale));
        default:
            return scale;
    }
}

struct GroupQuantizer {
    float lowest;  // code range
    float highest;
    float absmaxCode;  // absmax maps to it
    ScaleSearch search;
    DType scaleType;

    // Weighted squared error of quantizing n values with `scale`; also the sums for the
    // least-squares scale.
    double error(const float* w, const float* h, std::int64_t n, float scale, double* wq,
                 double* qq) const {
        const float inverse = 1.0f / scale;
        float sum = 0, sumWq = 0, sumQq = 0;
        for (std::int64_t j = 0; j < n; ++j) {
            const float q = std::min(highest, std::max(lowest, roundToEven(w[j] * inverse)));
            const float d = w[j] - q * scale;
            const float weight = h ? h[j] : 1.0f;
            sum += weight * d * d;
            sumWq += weight * w[j] * q;
            sumQq += weight * q * q;
        }
        *wq = sumWq;
        *qq = sumQq;
        return sum;
    }

    float bestScale(const float* w, const float* h, std::int64_t n) const {
        float amax = 0;
        for (std::int64_t j = 0; j < n; ++j)
            amax = std::max(amax, std::fabs(w[j]));
        if (amax == 0)
            return 1;  // a group of zeros: any scale gives zeros, and a zero scale would be refused
                       // by readers
        const float base = amax / absmaxCode;
        float best = storedScale(base, scaleType);
        if (search == ScaleSearch::Absmax)
            return best;
        double wq = 0, qq = 0;
        double bestError = error(w, h, n, best, &wq, &qq);
        const auto offer = [&](float candidate) {
            const float scale = storedScale(candidate, scaleType);
            if (!(scale > 0))
                return;
            const double e = error(w, h, n, scale, &wq, &qq);
            if (e < bestError) {
                bestError = e;
                best = scale;
            }
        };
        for (float ratio = kFirstRatio; ratio <= kLastRatio; ratio += kRatioStep)
            offer(base * ratio);
        error(w, h, n, best, &wq, &qq);
        if (qq > 0 && wq > 0)
            offer(static_cast<float>(wq / qq));
        return best;
    }
};

void storeScale(Tensor& scales, std::int64_t index, float scale) {
    switch (scales.dtype()) {
        case DType::F16:
            scales.mutableAs<std::uint16_t>()[index] = kernels::floatToHalf(scale);
            break;
        case DType::BF16:
            scales.mutableAs<std::uint16_t>()[index] = kernels::floatToBfloat16(scale);
            break;
        default:
            scales.mutableAs<float>()[index] = scale;
            break;
    }
}

struct Sums {
    double error = 0, signal = 0, weightedError = 0, weightedSignal = 0;
};

}  // namespace

RtnResult quantizeRtn(const std::string& name, const Weight& weight, const RtnOptions& options,
                      kernels::WorkerPool& pool, RunControl& control) {
    const kernels::WeightView view = weight.view();
    const std::int64_t rows = view.rows, cols = view.cols;
    const QuantScheme& scheme = options.scheme;
    const std::int64_t group = scheme.granularity == Granularity::Group ? scheme.groupSize : cols;
    const bool int4 = scheme.format == kernels::WeightFormat::Int4Group;
    if (!int4 && scheme.format != kernels::WeightFormat::Int8Channel)
        throw EngineError(ErrorKind::Internal, "round-to-nearest does not make " + scheme.id);
    if (cols % group != 0)
        throw EngineError(ErrorKind::Usage, name + ": " + std::to_string(cols) +
                                                " columns are not a multiple of the group size " +
                                                std::to_string(group));

    RtnResult result;
    QuantizedTensor& tensor = result.tensor;
    tensor.scheme = scheme;
    tensor.rows = rows;
    tensor.cols = cols;
    tensor.codes = int4 ? Tensor::allocate(DType::I32, {rows, cols / 8})
                        : Tensor::allocate(DType::I8, {rows, cols});
    tensor.scales = Tensor::allocate(options.scaleType, {rows, cols / group});

    const GroupQuantizer quantizer{int4 ? -8.0f : -127.0f, int4 ? 7.0f : 127.0f,
                                   int4 ? 7.0f : 127.0f, options.search, options.scaleType};
    std::vector<Sums> rowSums(static_cast<std::size_t>(rows));
    std::atomic<std::int64_t> done{0};
    std::atomic<bool> damaged{false};

    const auto quantizeRow = [&](std::int64_t row, std::vector<float>& w) {
        kernels::dequantizeRow(view, row, w.data());
        float check = 0;
        for (std::int64_t j = 0; j < cols; ++j)
            check += w[static_cast<std::size_t>(j)] * 0.0f;  // zero, unless something is not finite
        if (check != 0 || std::isnan(check)) {
            damaged = true;
            return;
        }
        Sums& sums = rowSums[static_cast<std::size_t>(row)];
        for (std::int64_t g = 0; g < cols / group; ++g) {
            const float* values = w.data() + g * group;
            const float* h = options.inputPower ? options.inputPower->data() + g * group : nullptr;
            const float scale = quantizer.bestScale(values, h, group);
            storeScale(tensor.scales, row * (cols / group) + g, scale);
            const float inverse = 1.0f / scale;
            for (std::int64_t j = 0; j < group; ++j) {
                const float q =
                    std::min(quantizer.highest,
                             std::max(quantizer.lowest, roundToEven(values[j] * inverse)));
                const std::int64_t k = g * group + j;
                if (int4)
                    tensor.codes.mutableAs<std::uint32_t>()[row * (cols / 8) + k / 8] |=
                        static_cast<std::uint32_t>(static_cast<int>(q) + 8) << (4 * (k % 8));
                else
                    tensor.codes.mutableAs<std::int8_t>()[row * cols + k] =
                        static_cast<std::int8_t>(q);
                const double d = values[j] - static_cast<double>(q) * scale,
                             signal = static_cast<double>(values[j]) * values[j];
                sums.error += d * d;
                sums.signal += signal;
                sums.weightedError += (h ? h[j] : 1.0) * d * d;
                sums.weightedSignal += (h ? h[j] : 1.0) * signal;
            }
        }
    };
    pool.parallelFor(rows, 8, [&](std::int64_t begin, std::int64_t end, int thread) {
        std::vector<float> w(static_cast<std::size_t>(cols));
        for (std::int64_t row = begin; row < end && !damaged; ++row) {
            if (control.cancelled())
                return;
            quantizeRow(row, w);
        }
        const std::int64_t finished = done += end - begin;
        if (thread == 0 && !control.cancelled())
            control.progress(static_cast<double>(finished) / static_cast<double>(rows), name);
    });
    control.check();
    if (damaged)
        throw EngineError(ErrorKind::BadInput, "tensor " + name + " holds NaN or infinite values");

    Sums total;
    for (const Sums& sums : rowSums) {
        total.error += sums.error;
        total.signal += sums.signal;
        total.weightedError += sums.weightedError;
        total.weightedSignal += sums.weightedSignal;
    }
    result.mse = total.error / static_cast<double>(rows * cols);
    result.sqnrDb = total.error > 0 ? 10 * std::log10(total.signal / total.error) : 200;
    result.relativeOutputError =
        total.weightedSignal > 0 ? std::sqrt(total.weightedError / total.weightedSignal) : 0;
    return result;
}

}  // namespace fettle
