#include "engine/tensor/weight.h"

#include "engine/core/error.h"

namespace fettle {
namespace {

using kernels::ScaleType;
using kernels::WeightFormat;

ScaleType scaleType(DType dtype) {
    switch (dtype) {
        case DType::F16:
            return ScaleType::F16;
        case DType::BF16:
            return ScaleType::BF16;
        case DType::F8E4M3:
            return ScaleType::E4M3;
        case DType::U8:
            return ScaleType::E8M0;
        default:
            return ScaleType::F32;
    }
}

}  // namespace

std::optional<WeightFormat> plainFormat(DType dtype) {
    switch (dtype) {
        case DType::F32:
            return WeightFormat::F32;
        case DType::F16:
            return WeightFormat::F16;
        case DType::BF16:
            return WeightFormat::BF16;
        default:
            return std::nullopt;
    }
}

bool fitsLowRank(const QuantizedTensor& w) {
    const Shape &in = w.lowRankIn.shape(), &out = w.lowRankOut.shape();
    return in.size() == 2 && out.size() == 2 && in[0] > 0 && in[0] == out[1] && in[1] == w.cols &&
           out[0] == w.rows && w.lowRankIn.dtype() == w.lowRankOut.dtype() &&
           plainFormat(w.lowRankIn.dtype()).has_value();
}

Shape Weight::shape() const {
    if (m_isQuantized)
        return {m_quantized.rows, m_quantized.cols};
    return m_dense.shape();
}

std::uint64_t Weight::bytes() const {
    if (m_isQuantized)
        return m_quantized.codes.bytes() + m_quantized.scales.bytes() +
               m_quantized.zeroPoints.bytes() + m_quantized.lowRankIn.bytes() +
               m_quantized.lowRankOut.bytes();
    return m_dense.bytes();
}

std::string Weight::typeName() const {
    if (!m_isQuantized)
        return toString(m_dense.dtype());
    if (m_quantized.codes.dtype() == DType::Block)
        return kernels::name(m_quantized.scheme.format);
    return m_quantized.scheme.id;
}

double Weight::bitsPerWeight() const {
    const std::int64_t count = elements();
    return count > 0 ? 8.0 * static_cast<double>(bytes()) / static_cast<double>(count) : 0;
}

kernels::WeightView Weight::view() const {
    kernels::WeightView view;
    if (m_isQuantized) {
        const QuantizedTensor& q = m_quantized;
        view.format = q.scheme.format;
        view.rows = q.rows;
        view.cols = q.cols;
        view.data = q.codes.data();
        view.scales = q.scales.data();
        view.scaleType = scaleType(q.scales.dtype());
        view.globalScale = q.globalScale;
        view.inputGlobalScale = q.inputGlobalScale;
        view.activations = q.scheme.kernelActivations(q.cols);
        if (kernels::hasGroups(view.format))
            view.groupSize = q.scheme.groupSize > 0 ? q.scheme.groupSize : q.cols;
        view.zeroPoints = q.zeroPoints.as<std::int32_t>();
        return view;
    }
    const auto format = plainFormat(m_dense.dtype());
    if (!format)
        throw EngineError(
            ErrorKind::Internal,
            "a plain weight of type " + toString(m_dense.dtype()) + " has no matrix form");
    view.format = *format;
    view.cols = m_dense.shape().empty() ? 1 : m_dense.shape().back();
    view.rows = view.cols > 0 ? m_dense.elements() / view.cols : 0;
    view.data = m_dense.data();
    return view;
}

std::vector<float> Weight::toFloat() const {
    const kernels::WeightView matrix = view();
    std::vector<float> values(static_cast<std::size_t>(matrix.rows * matrix.cols));
    for (std::int64_t row = 0; row < matrix.rows; ++row)
        kernels::dequantizeRow(matrix, row, values.data() + row * matrix.cols);
    addLowRank(0, matrix.rows, values.data());
    return values;
}

void Weight::rowToFloat(std::int64_t row, float* out) const {
    kernels::dequantizeRow(view(), row, out);
    addLowRank(row, 1, out);
}

void Weight::addLowRank(std::int64_t first, std::int64_t rows, float* out) const {
    if (!hasLowRank())
        return;
    const Weight in(m_quantized.lowRankIn), wide(m_quantized.lowRankOut);
    const std::vector<float> factors = in.toFloat();
    const std::int64_t rank = in.shape().at(0), cols = m_quantized.cols;
    std::vector<float> shares(static_cast<std::size_t>(rank));
    for (std::int64_t r = 0; r < rows; ++r, out += cols) {
        kernels::dequantizeRow(wide.view(), first + r, shares.data());
        for (std::int64_t k = 0; k < rank; ++k)
            for (std::int64_t j = 0; j < cols; ++j)
                out[j] += shares[static_cast<std::size_t>(k)] *
                          factors[static_cast<std::size_t>(k * cols + j)];
    }
}

void Weight::dropPages() const {
    m_dense.dropPages();
    m_quantized.codes.dropPages();
    m_quantized.scales.dropPages();
    m_quantized.zeroPoints.dropPages();
    m_quantized.lowRankIn.dropPages();
    m_quantized.lowRankOut.dropPages();
}

}  // namespace fettle
