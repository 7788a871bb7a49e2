#include "engine/model/weight_reader.h"

#include <algorithm>
#include <cstring>

#include "engine/core/error.h"
#include "engine/io/strict_json.h"

namespace fettle {
namespace {

using kernels::WeightFormat;

/// What the tensor's shape must be in its file.
Shape fileShape(const TensorPlace& place, const FusedRows& rows, FileLayout layout) {
    if (place.cols == 0)
        return {rows.total};
    if (layout.transposed && place.is(kTransposed))
        return {place.cols, rows.total};
    return {rows.total, place.cols};
}

std::size_t rowBytesOf(const TensorPlace& place, WeightFormat format) {
    return kernels::rowBytes(format, std::max<std::int64_t>(place.cols, 1));
}

Weight make(const TensorPlace& place, WeightFormat format, Tensor data) {
    if (kernels::blockValues(format) == 1)
        return Weight(std::move(data));
    QuantizedTensor quantized;
    quantized.scheme = blockScheme(format);
    quantized.rows = place.rows;
    quantized.cols = place.cols;
    quantized.codes = data.withShape(
        {place.rows, static_cast<std::int64_t>(kernels::rowBytes(format, place.cols))});
    return Weight(std::move(quantized));
}

/// An empty tensor for the part, of the type the file has.
Tensor allocatePart(const TensorPlace& place, const StoredTensor& stored, std::size_t rowBytes) {
    return Tensor::allocateBytes(stored.tensor.dtype(), place.shape(),
                                 static_cast<std::size_t>(place.rows) * rowBytes);
}

/// dst[r, c] = src[c, first + r], tile by tile so that both sides stay in cache.
template <typename T>
void transpose(const T* src, std::int64_t srcCols, std::int64_t first, T* dst, std::int64_t rows,
               std::int64_t cols) {
    constexpr std::int64_t kTile = 32;
    for (std::int64_t r0 = 0; r0 < rows; r0 += kTile)
        for (std::int64_t c0 = 0; c0 < cols; c0 += kTile)
            for (std::int64_t r = r0; r < std::min(rows, r0 + kTile); ++r)
                for (std::int64_t c = c0; c < std::min(cols, c0 + kTile); ++c)
                    dst[r * cols + c] = src[c * srcCols + first + r];
}

Tensor transposedPart(const TensorPlace& place, const StoredTensor& stored, const FusedRows& rows,
                      std::size_t rowBytes) {
    Tensor part = allocatePart(place, stored, rowBytes);
    if (dtypeBytes(stored.tensor.dtype()) == 4)
        transpose(stored.tensor.as<std::uint32_t>(), rows.total, rows.first,
                  part.mutableAs<std::uint32_t>(), place.rows, place.cols);
    else
        transpose(stored.tensor.as<std::uint16_t>(), rows.total, rows.first,
                  part.mutableAs<std::uint16_t>(), place.rows, place.cols);
    return part;
}

Tensor unpermuted(const TensorPlace& place, const ModelConfig& config, const StoredTensor& stored,
                  std::size_t rowBytes) {
    Tensor part = allocatePart(place, stored, rowBytes);
    for (std::int64_t row = 0; row < place.rows; ++row)
        std::memcpy(part.mutableAs<std::byte>() + static_cast<std::size_t>(row) * rowBytes,
                    stored.tensor.data() +
                        static_cast<std::size_t>(permutedRow(row, config.headDim)) * rowBytes,
                    rowBytes);
    return part;
}

/// A window on the rows [first, first + rows), sharing the owner.
Tensor window(const Tensor& whole, std::int64_t first, std::int64_t rows, std::size_t rowBytes,
              Shape shape) {
    Tensor part = whole.slice(static_cast<std::size_t>(first) * rowBytes,
                              static_cast<std::size_t>(rows) * rowBytes);
    return part.withShape(std::move(shape));
}

}  // namespace

std::int64_t permutedRow(std::int64_t row, std::int64_t headDim) {
    // GGUF interleaves the two halves of a head: its row 2i + j is row j*d/2 + i here.
    const std::int64_t head = row / headDim, within = row % headDim, half = headDim / 2;
    return head * headDim + 2 * (within % half) + within / half;
}

FusedRows fusedRows(const TensorPlace& place, const ModelConfig& config) {
    if (place.rule->part < 0)
        return {place.rows, 0};
    const std::int64_t query = sizeOf(Dim::Query, config), keyValue = sizeOf(Dim::KeyValue, config);
    const std::int64_t first[] = {0, query, query + keyValue};
    return {query + 2 * keyValue, first[place.rule->part]};
}

Weight readPlainWeight(const TensorPlace& place, const ModelConfig& config,
                       const StoredTensor& stored, const std::string& name, FileLayout layout) {
    const std::string what = "tensor " + inQuotes(name);
    const bool block = stored.format && kernels::blockValues(*stored.format) > 1;
    if (!stored.format || (block && place.cols == 0))
        throwBadInput(stored.file, what + " has type " + stored.type +
                                       ", which is not supported here" +
                                       (place.cols == 0 ? " (F32, F16 and BF16 are)" : ""));
    const FusedRows rows = fusedRows(place, config);
    const Shape wanted = fileShape(place, rows, layout);
    if (stored.tensor.shape() != wanted)
        throwBadInput(stored.file, what + " has shape " + toString(stored.tensor.shape()) +
                                       ", the configuration wants " + toString(wanted));
    const std::size_t rowBytes = rowBytesOf(place, *stored.format);
    const bool transposes = layout.transposed && place.is(kTransposed);
    if (transposes || (layout.permuted && place.is(kPermuted))) {
        Tensor copy = transposes ? transposedPart(place, stored, rows, rowBytes)
                                 : unpermuted(place, config, stored, rowBytes);
        stored.tensor.dropPages();  // the copy stands for it from here on
        return make(place, *stored.format, std::move(copy));
    }
    if (rows.total == place.rows)
        return make(place, *stored.format, stored.tensor);
    return make(place, *stored.format,
                window(stored.tensor, rows.first, place.rows, rowBytes, place.shape()));
}

QuantizedTensor sliceRows(const QuantizedTensor& whole, std::int64_t first, std::int64_t rows) {
    QuantizedTensor part = whole;
    part.rows = rows;
    const auto cut = [&](const Tensor& tensor) {
        const std::int64_t perRow = tensor.elements() / whole.rows;
        return window(tensor, first, rows, tensor.bytes() / static_cast<std::size_t>(whole.rows),
                      {rows, perRow});
    };
    part.codes = cut(whole.codes);
    part.scales = cut(whole.scales);
    if (whole.zeroPoints.empty())
        return part;
    // Eight rows share a word of zero points, and the part need not begin on such a boundary.
    const std::int64_t groups = whole.zeroPoints.dim(1);
    part.zeroPoints = Tensor::allocate(DType::I32, {(rows + 7) / 8, groups});
    const auto* from = whole.zeroPoints.as<std::uint32_t>();
    auto* to = part.zeroPoints.mutableAs<std::uint32_t>();
    for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t g = 0; g < groups; ++g) {
            const std::int64_t source = first + r;
            const std::uint32_t nibble = from[source / 8 * groups + g] >> (4 * (source % 8)) & 15u;
            to[r / 8 * groups + g] |= nibble << (4 * (r % 8));
        }
    return part;
}

}  // namespace fettle
