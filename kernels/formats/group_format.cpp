#include "kernels/formats/group_format.h"

#include <algorithm>

#include "kernels/formats/small_float.h"

namespace fettle::kernels {
namespace {

/// Codes [first, first + count) of a row; `bits` from the lowest bit of the first byte on.
void readCodes(const std::uint8_t* row, int bits, std::int64_t first, std::int64_t count,
               std::uint8_t* out) {
    const unsigned mask = (1u << bits) - 1;
    for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t bit = (first + i) * bits;
        const std::uint8_t* byte = row + bit / 8;
        const int shift = static_cast<int>(bit % 8);
        const unsigned high = shift + bits > 8 ? static_cast<unsigned>(byte[1]) << 8 : 0u;
        out[i] = static_cast<std::uint8_t>((*byte | high) >> shift & mask);
    }
}

const std::uint8_t* rowOf(const WeightView& w, std::int64_t row) {
    return static_cast<const std::uint8_t*>(w.data) +
           static_cast<std::size_t>(row) * rowBytes(w.format, w.cols);
}

}  // namespace

bool hasGroups(WeightFormat format) {
    switch (format) {
        case WeightFormat::Int4Group:
        case WeightFormat::Int3Group:
        case WeightFormat::Int2Group:
        case WeightFormat::NvFp4:
        case WeightFormat::MxFp4:
            return true;
        default:
            return isWidened(format);
    }
}

bool isWidened(WeightFormat format) {
    return format == WeightFormat::MxFp8 || format == WeightFormat::Fp8Group ||
           format == WeightFormat::MxFp6 || format == WeightFormat::Nf4Group;
}

float codeValue(WeightFormat format, std::uint8_t code) {
    switch (format) {
        case WeightFormat::NvFp4:
        case WeightFormat::MxFp4:
            return e2m1ToFloat(code);
        case WeightFormat::MxFp8:
        case WeightFormat::Fp8Group:
        case WeightFormat::Fp8Channel:
            return e4m3ToFloat(code);
        case WeightFormat::MxFp6:
            return e2m3ToFloat(code);
        case WeightFormat::Nf4Group:
            return kNf4[code & 15];
        default:
            return static_cast<float>(code);
    }
}

int codeBits(WeightFormat format) {
    switch (format) {
        case WeightFormat::Int2Group:
            return 2;
        case WeightFormat::Int3Group:
            return 3;
        case WeightFormat::Int4Group:
        case WeightFormat::NvFp4:
        case WeightFormat::MxFp4:
        case WeightFormat::Nf4Group:
            return 4;
        case WeightFormat::MxFp6:
            return 6;
        default:
            return 8;
    }
}

ActivationFormat activationsOf(const WeightView& w) {
    if (w.activations)
        return *w.activations;
    switch (w.format) {
        case WeightFormat::F32:
        case WeightFormat::F16:
        case WeightFormat::BF16:
        case WeightFormat::MxFp8:
        case WeightFormat::Fp8Group:
        case WeightFormat::MxFp6:
        case WeightFormat::Nf4Group:
            return ActivationFormat::None;
        case WeightFormat::Int8Channel:
            return ActivationFormat::Int8Token;
        case WeightFormat::Fp8Channel:
            return ActivationFormat::Fp8Token;
        default:
            return ActivationFormat::Int8Group32;
    }
}

void groupCodes(const WeightView& w, std::int64_t row, std::int64_t g, std::uint8_t* out) {
    readCodes(rowOf(w, row), codeBits(w.format), 32 * g, 32, out);
}

void dequantizeGroups(const WeightView& w, std::int64_t row, float* out) {
    const int bits = codeBits(w.format);
    const bool floats =
        w.format == WeightFormat::NvFp4 || w.format == WeightFormat::MxFp4 || isWidened(w.format);
    const std::int64_t groups = w.cols / w.groupSize;
    for (std::int64_t g = 0; g < groups; ++g) {
        const float s = weightScale(w, row * groups + g);
        const int zero = bits == 4 ? zeroPoint(w, row, g) : 1 << (bits - 1);
        const std::int64_t end = (g + 1) * w.groupSize;
        for (std::int64_t k = g * w.groupSize; k < end;) {
            std::uint8_t codes[32];
            const std::int64_t count = std::min<std::int64_t>(32, end - k);
            readCodes(rowOf(w, row), bits, k, count, codes);
            for (std::int64_t i = 0; i < count; ++i, ++k)
                out[k] = s * (floats ? codeValue(w.format, codes[i])
                                     : static_cast<float>(static_cast<int>(codes[i]) - zero));
        }
    }
}

}  // namespace fettle::kernels
