#include "kernels/ops/matmul.h"

#include <new>
#include <stdexcept>

#include "kernels/reference/matmul.h"

namespace fettle::kernels {

void PackedWeight::Free::operator()(std::byte* p) const {
    ::operator delete[](p, std::align_val_t{64});
}

PackedWeight PackedWeight::pack(const WeightView& weight, WorkerPool& pool) {
    PackedWeight p;
    p.m_format = weight.format;
    p.m_rows = weight.rows;
    p.m_cols = weight.cols;
    p.m_bytes = static_cast<std::size_t>(weight.rows * weight.cols) * sizeof(float);
    p.m_data.reset(static_cast<std::byte*>(::operator new[](p.m_bytes + 64, std::align_val_t{64})));
    auto* values = reinterpret_cast<float*>(p.m_data.get());
    const auto body = [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t r = begin; r < end; ++r)
            dequantizeRow(weight, r, values + r * weight.cols);
    };
    pool.parallelFor(weight.rows, 64, std::ref(body));
    return p;
}

void Activations::assign(const float* x, std::int64_t m, std::int64_t k, std::int64_t stride) {
    m_x = x;
    m_m = m;
    m_k = k;
    m_stride = stride;
    m_perToken.valid = m_perGroup.valid = false;
}

namespace {

void quantize(const Activations& x, std::int64_t group, Activations::Quantized& q) {
    const std::int64_t k = x.cols(), padded = (k + 63) / 64 * 64, groups = k / group;
    q.group = group;
    q.codes.assign(static_cast<std::size_t>(x.rows() * padded), 0);
    q.scales.resize(static_cast<std::size_t>(x.rows() * groups));
    q.sums.resize(q.scales.size());
    for (std::int64_t i = 0; i < x.rows(); ++i)
        for (std::int64_t g = 0; g < groups; ++g)
            reference::quantizeGroup(x.data() + i * x.stride() + g * group, group,
                                     q.codes.data() + i * padded + g * group,
                                     q.scales.data() + i * groups + g, q.sums.data() + i * groups + g);
    q.valid = true;
}

}  // namespace

const Activations::Quantized& Activations::perToken(WorkerPool&) {
    if (!m_perToken.valid)
        quantize(*this, m_k, m_perToken);
    return m_perToken;
}

const Activations::Quantized& Activations::perGroup32(WorkerPool&) {
    if (!m_perGroup.valid)
        quantize(*this, 32, m_perGroup);
    return m_perGroup;
}

void matmul(const PackedWeight& w, Activations& x, float* y, std::int64_t yStride, const float* bias,
            bool accumulate, WorkerPool& pool) {
    if (x.cols() != w.cols())
        throw std::invalid_argument("matmul: inner sizes differ");
    const auto* values = reinterpret_cast<const float*>(w.data());
    const std::int64_t k = w.cols();
    const bool plain = w.format() <= WeightFormat::BF16;
    const auto* q = plain ? nullptr
                    : w.format() == WeightFormat::Int8Channel ? &x.perToken(pool)
                                                              : &x.perGroup32(pool);
    const std::int64_t padded = (k + 63) / 64 * 64;
    const auto body = [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t n = begin; n < end; ++n) {
            for (std::int64_t i = 0; i < x.rows(); ++i) {
                double sum = 0;
                for (std::int64_t j = 0; j < k; ++j) {
                    const double a = plain ? x.data()[i * x.stride() + j]
                                           : static_cast<double>(q->codes[static_cast<std::size_t>(i * padded + j)]) *
                                                 q->scales[static_cast<std::size_t>((i * k + j) / q->group)];
                    sum += a * values[n * k + j];
                }
                float& out = y[i * yStride + n];
                out = static_cast<float>(sum) + (bias ? bias[n] : 0.0F) + (accumulate ? out : 0.0F);
            }
        }
    };
    pool.parallelFor(w.rows(), 16, std::ref(body));
}

}  // namespace fettle::kernels
