#include "engine/quant/group_quantizer.h"

#include <algorithm>
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

}  // namespace

GroupQuantizer::GroupQuantizer(const QuantScheme& scheme, ScaleSearch search, DType scaleType)
    : m_group(scheme.granularity == Granularity::Group ? scheme.groupSize : 0),
      m_search(search),
      m_scaleType(scaleType) {
    const bool int4 = scheme.format == kernels::WeightFormat::Int4Group;
    if ((!int4 && scheme.format != kernels::WeightFormat::Int8Channel) || !scheme.symmetric)
        throw EngineError(ErrorKind::Internal,
                          "codes of " + scheme.id + " are not symmetric integers");
    m_highest = int4 ? 7.0f : 127.0f;
    m_lowest = int4 ? -8.0f : -127.0f;
}

double GroupQuantizer::error(const float* w, const float* h, std::int64_t n, float scale,
                             double* wq, double* qq) const {
    const float inverse = 1.0f / scale;
    float sum = 0, sumWq = 0, sumQq = 0;
    for (std::int64_t j = 0; j < n; ++j) {
        const float q = codeOf(w[j], inverse);
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

float GroupQuantizer::scaleOf(const float* w, const float* h, std::int64_t n) const {
    float amax = 0;
    for (std::int64_t j = 0; j < n; ++j)
        amax = std::max(amax, std::fabs(w[j]));
    if (amax == 0)
        return 1;  // any scale gives zeros, and a zero scale would be refused by readers
    const float base = amax / m_highest;
    float best = storedScale(base, m_scaleType);
    if (m_search == ScaleSearch::Absmax)
        return best;
    double wq = 0, qq = 0;
    double bestError = error(w, h, n, best, &wq, &qq);
    const auto offer = [&](float candidate) {
        const float scale = storedScale(candidate, m_scaleType);
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

QuantizedTensor packCodes(const QuantScheme& scheme, std::int64_t rows, std::int64_t cols,
                          const std::int8_t* codes, const float* scales, DType scaleType) {
    const std::int64_t group = scheme.granularity == Granularity::Group ? scheme.groupSize : cols;
    const std::int64_t count = rows * (cols / group);
    QuantizedTensor tensor;
    tensor.scheme = scheme;
    tensor.rows = rows;
    tensor.cols = cols;
    if (scheme.format == kernels::WeightFormat::Int4Group) {
        tensor.codes = Tensor::allocate(DType::I32, {rows, cols / 8});
        auto* words = tensor.codes.mutableAs<std::uint32_t>();
        for (std::int64_t i = 0; i < rows * cols; ++i)
            words[i / 8] |= static_cast<std::uint32_t>(codes[i] + 8) << (4 * (i % 8));
    } else {
        tensor.codes = Tensor::allocate(DType::I8, {rows, cols});
        std::memcpy(tensor.codes.mutableAs<std::int8_t>(), codes,
                    static_cast<std::size_t>(rows * cols));
    }
    tensor.scales = Tensor::allocate(scaleType, {rows, cols / group});
    for (std::int64_t i = 0; i < count; ++i) {
        if (scaleType == DType::F16)
            tensor.scales.mutableAs<std::uint16_t>()[i] = kernels::floatToHalf(scales[i]);
        else if (scaleType == DType::BF16)
            tensor.scales.mutableAs<std::uint16_t>()[i] = kernels::floatToBfloat16(scales[i]);
        else
            tensor.scales.mutableAs<float>()[i] = scales[i];
    }
    return tensor;
}

}  // namespace fettle
