#include "engine/quant/group_quantizer.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "engine/core/error.h"
#include "engine/io/gguf_quantize.h"
#include "kernels/formats/small_float.h"

namespace fettle {

namespace {

using kernels::WeightFormat;

// Grid of clipping ratios around absmax. Below one the largest weights are clipped for finer steps;
// slightly above one is there because integers have one more code on the negative side, and because
// stored scales are rounded. The fewer codes, the more is worth clipping. E2M1 may gain from larger
// scales: 1.5 maps the largest weight to 4 instead of 6, past the gap between them.
constexpr float kFirstRatio = 0.50f;
constexpr float kFirstRatioOf3Bits = 0.40f;
constexpr float kFirstRatioOf2Bits = 0.25f;
constexpr float kLastRatio = 1.05f;
constexpr float kLastRatioOfE2m1 = 2.05f;
constexpr float kRatioStep = 0.025f;
// The smallest normal float16: a smaller scale would lose bits or flush to zero when stored.
constexpr float kSmallestScale = 6.103515625e-05f;

/// The stored byte of an MX format for a scale: the power of two nearest to it in ratio. Powers
/// whose inverse float32 does not hold are left out.
std::uint8_t powerByte(float scale, float units) {
    const float x = std::clamp(units * scale, 0x1p-120f, 0x1p120f);
    const std::uint8_t below = kernels::floorE8m0(x);
    const float power = kernels::e8m0ToFloat(below);
    return below < 254 && x / power > power * 2 / x ? static_cast<std::uint8_t>(below + 1) : below;
}

std::uint8_t nvFp4Byte(float scale, float globalScale) {
    const float wanted =
        std::clamp(2 * scale * globalScale, kernels::kSmallestE4m3, kernels::kLargestE4m3);
    return kernels::floatToE4m3(wanted);
}

DType ownScaleType(WeightFormat format, DType otherwise) {
    return format == WeightFormat::NvFp4 ? DType::F8E4M3
           : format == WeightFormat::MxFp4 || format == WeightFormat::MxFp8 ||
                   format == WeightFormat::MxFp6
               ? DType::U8
               : otherwise;
}

/// OCP Microscaling's rule: the exponent of the largest value less that of the element type's
/// largest.
int largestExponent(WeightFormat format) {
    return format == WeightFormat::MxFp8 ? 8 : 2;
}

}  // namespace

float unitsOf(WeightFormat format) {
    return format == WeightFormat::NvFp4 || format == WeightFormat::MxFp4 ? 2.0f
           : format == WeightFormat::MxFp6                                ? 8.0f
                                                                          : 1.0f;
}

GroupQuantizer::GroupQuantizer(const QuantScheme& scheme, ScaleSearch search, DType scaleType,
                               float globalScale)
    : m_grid(Grid::Integer),
      m_symmetric(scheme.symmetric),
      m_firstRatio(kFirstRatio),
      m_lastRatio(kLastRatio),
      m_group(scheme.granularity == Granularity::Group ? scheme.groupSize : 0),
      m_format(scheme.format),
      m_search(search),
      m_scaleType(scheme.isScaledBlock() ? DType::F16 : scaleType),
      m_globalScale(globalScale) {
    if (!scheme.hasQuantizer() && !scheme.isSuperBlock() && !scheme.isScaledBlock())
        throw EngineError(ErrorKind::Internal,
                          "codes of " + scheme.id + " are not made by this quantizer");
    switch (scheme.format) {
        case WeightFormat::NvFp4:
        case WeightFormat::MxFp4:
            m_grid = Grid::E2m1;
            m_highest = 2 * kernels::kLargestE2m1;
            m_lowest = -m_highest;
            m_lastRatio = kLastRatioOfE2m1;
            break;
        case WeightFormat::MxFp6:
            m_grid = Grid::E2m3;
            m_highest = 8 * kernels::kLargestE2m3;
            m_lowest = -m_highest;
            m_lastRatio = kLastRatioOfE2m1;
            break;
        case WeightFormat::Nf4Group:
            m_grid = Grid::Nf4;
            m_highest = 1;
            m_lowest = -1;
            break;
        case WeightFormat::MxFp8:
            m_lastRatio = kLastRatioOfE2m1;
            [[fallthrough]];
        case WeightFormat::Fp8Channel:
        case WeightFormat::Fp8Group:
            m_grid = Grid::E4m3;
            m_highest = kernels::kLargestE4m3;
            m_lowest = -m_highest;
            break;
        case WeightFormat::Int8Channel:
            m_highest = 127.0f;
            m_lowest = -127.0f;
            break;
        case WeightFormat::Q4_K:
        case WeightFormat::Q5_K:
            m_grid = Grid::Affine;
            [[fallthrough]];
        default: {
            const auto half = static_cast<float>(1 << (scheme.bits - 1));
            m_highest = half - 1;
            m_lowest = -half;
            m_firstRatio = scheme.bits == 2   ? kFirstRatioOf2Bits
                           : scheme.bits == 3 ? kFirstRatioOf3Bits
                                              : kFirstRatio;
        }
    }
}

float GroupQuantizer::storedScale(float scale) const {
    switch (m_format) {
        case WeightFormat::NvFp4:
            return kernels::e4m3ToFloat(nvFp4Byte(scale, m_globalScale)) / m_globalScale / 2;
        case WeightFormat::MxFp4:
        case WeightFormat::MxFp8:
        case WeightFormat::MxFp6:
            return kernels::e8m0ToFloat(powerByte(scale, unitsOf(m_format))) / unitsOf(m_format);
        default:
            break;
    }
    switch (m_scaleType) {
        case DType::F16:
            return kernels::halfToFloat(kernels::floatToHalf(std::max(scale, kSmallestScale)));
        case DType::BF16:
            return kernels::bfloat16ToFloat(kernels::floatToBfloat16(scale));
        default:
            return scale;
    }
}

float GroupQuantizer::e4m3Code(float x) const {
    const float q = clamped(x);
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(q) & 0x7FFFFFFFu;
    const float magnitude = std::bit_cast<float>(bits);
    // Subnormals count in units of 2^-9, the last place of 2^14; others keep three bits of
    // mantissa.
    const float small = (magnitude + 16384.0f) - 16384.0f;
    const float normal = std::bit_cast<float>((bits + 0x7FFFFu + (bits >> 20 & 1u)) & 0xFFF00000u);
    return std::copysign(magnitude < 0x1p-6f ? small : normal, q);
}

float GroupQuantizer::nf4Code(float x) const {
    const float* above = std::upper_bound(kernels::kNf4 + 1, kernels::kNf4 + 15, x);
    return x - above[-1] > above[0] - x ? above[0] : above[-1];
}

template <GroupQuantizer::Grid G>
float GroupQuantizer::gridCode(float x, float shift) const {
    if constexpr (G == Grid::Affine)
        return affineCode(x, shift);
    else if constexpr (G == Grid::E2m1)
        return e2m1Code(x);
    else if constexpr (G == Grid::E4m3)
        return e4m3Code(x);
    else if constexpr (G == Grid::E2m3)
        return e2m3Code(x);
    else if constexpr (G == Grid::Nf4)
        return nf4Code(x);
    else
        return integerCode(x, shift);
}

template <GroupQuantizer::Grid G>
double GroupQuantizer::error(const float* w, const float* h, std::int64_t n, GroupGrid grid,
                             double* wq, double* qq) const {
    const float inverse = 1.0f / grid.scale;
    float sum = 0, sumWq = 0, sumQq = 0;
    for (std::int64_t j = 0; j < n; ++j) {
        const float q = gridCode<G>(w[j] * inverse, grid.shift);
        const float d = w[j] - q * grid.scale;
        const float weight = h ? h[j] : 1.0f;
        sum += weight * d * d;
        sumWq += weight * w[j] * q;
        sumQq += weight * q * q;
    }
    *wq = sumWq;
    *qq = sumQq;
    return sum;
}

template <GroupQuantizer::Grid G>
float GroupQuantizer::searchedScale(const float* w, const float* h, std::int64_t n,
                                    float base) const {
    float best = storedScale(base), last = best;
    double wq = 0, qq = 0;
    double bestError = error<G>(w, h, n, {best}, &wq, &qq);
    const auto offer = [&](float candidate) {
        const float scale = storedScale(candidate);
        if (!(scale > 0) || scale == last)
            return;
        last = scale;
        const double e = error<G>(w, h, n, {scale}, &wq, &qq);
        if (e < bestError) {
            bestError = e;
            best = scale;
        }
    };
    for (float ratio = m_firstRatio; ratio <= m_lastRatio; ratio += kRatioStep)
        offer(base * ratio);
    error<G>(w, h, n, {best}, &wq, &qq);
    if (qq > 0 && wq > 0)
        offer(static_cast<float>(wq / qq));
    return best;
}

/// The grid whose ends are `low` <= 0 and `high` >= 0, as nearly as its zero point allows.
GroupGrid GroupQuantizer::rangeOf(float low, float high) const {
    const float scale = storedScale((high - low) / (m_highest - m_lowest));
    // The zero point lies within the codes, so that zero is one of the values.
    const float shift = std::clamp(std::nearbyint(low / scale) - m_lowest, -m_highest, -m_lowest);
    return {scale, shift};
}

GroupGrid GroupQuantizer::searchedRange(const float* w, const float* h, std::int64_t n, float low,
                                        float high) const {
    GroupGrid best = rangeOf(low, high);
    double wq = 0, qq = 0;
    double bestError = error<Grid::Integer>(w, h, n, best, &wq, &qq);
    const auto offer = [&](GroupGrid grid) {
        if (!(grid.scale > 0))
            return;
        const double e = error<Grid::Integer>(w, h, n, grid, &wq, &qq);
        if (e < bestError) {
            bestError = e;
            best = grid;
        }
    };
    const float centre = (low + high) / 2, middle = (m_lowest + m_highest) / 2;
    for (float ratio = m_firstRatio; ratio <= m_lastRatio; ratio += kRatioStep) {
        const float scale = storedScale((high - low) * ratio / (m_highest - m_lowest));
        // The range in the middle of the values, and one code to either side of it.
        const float about = std::nearbyint(centre / scale - middle);
        for (const float shift : {about - 1, about, about + 1})
            if (shift >= -m_highest && shift <= -m_lowest)
                offer({scale, shift});
    }
    error<Grid::Integer>(w, h, n, best, &wq, &qq);
    if (qq > 0 && wq > 0)
        offer({storedScale(static_cast<float>(wq / qq)), best.shift});
    return best;
}

GroupGrid GroupQuantizer::gridOf(const float* w, const float* h, std::int64_t n) const {
    float low = 0, high = 0;
    for (std::int64_t j = 0; j < n; ++j) {
        low = std::min(low, w[j]);
        high = std::max(high, w[j]);
    }
    const float amax = std::max(-low, high);
    if (amax == 0)  // any gives zeros, and a zero scale would be refused by readers
        return {storedScale(1), 0};
    if (!m_symmetric)
        return m_search == ScaleSearch::Absmax ? rangeOf(low, high)
                                               : searchedRange(w, h, n, low, high);
    return {scaleOf(w, h, n, amax), 0};
}

float GroupQuantizer::scaleOf(const float* w, const float* h, std::int64_t n, float amax) const {
    const float base = amax / m_highest;
    if (m_search == ScaleSearch::Absmax) {
        // The rule of OCP Microscaling: the largest value lies in E2M1's last binade [4, 8).
        if (ownScaleType(m_format, DType::F32) == DType::U8)
            return storedScale(std::ldexp(kernels::e8m0ToFloat(kernels::floorE8m0(amax)),
                                          -largestExponent(m_format)) /
                               unitsOf(m_format));
        return storedScale(base);
    }
    switch (m_grid) {
        case Grid::E2m1:
            return searchedScale<Grid::E2m1>(w, h, n, base);
        case Grid::E4m3:
            return searchedScale<Grid::E4m3>(w, h, n, base);
        case Grid::E2m3:
            return searchedScale<Grid::E2m3>(w, h, n, base);
        case Grid::Nf4:
            return searchedScale<Grid::Nf4>(w, h, n, base);
        case Grid::Affine:
        case Grid::Integer:
            break;
    }
    return searchedScale<Grid::Integer>(w, h, n, base);
}

kernels::CodeRule GroupQuantizer::rule() const {
    using Kind = kernels::CodeRule::Kind;
    kernels::CodeRule rule;
    switch (m_grid) {
        case Grid::E2m1:
            rule.kind = Kind::Floating;
            rule.grid = kernels::e2m1Grid();
            break;
        case Grid::E4m3:
            rule.kind = Kind::Floating;
            rule.grid = kernels::e4m3Grid();
            break;
        case Grid::E2m3:
            rule.kind = Kind::Floating;
            rule.grid = kernels::e2m3Grid();
            break;
        case Grid::Nf4:
            rule.kind = Kind::Table;
            rule.grid = kernels::nf4Grid();
            std::copy_n(kernels::kNf4, 16, rule.table);
            break;
        case Grid::Affine:
        case Grid::Integer:
            rule.kind = m_grid == Grid::Affine ? Kind::Shifted : Kind::Whole;
            rule.grid =
                kernels::integerGrid(static_cast<int>(m_lowest), static_cast<int>(m_highest));
    }
    return rule;
}

void GroupQuantizer::searchScales(const float* w, const float* h, std::int64_t n,
                                  float* scales) const {
    constexpr auto kRows = static_cast<std::size_t>(kernels::kCodeRows);
    using Row = std::array<float, kRows>;
    Row base{}, best{}, bestError{}, wanted{}, stored{}, error{}, wq{}, qq{};
    for (std::int64_t j = 0; j < n; ++j)
        for (std::size_t r = 0; r < kRows; ++r)
            base[r] = std::max(base[r],
                               std::fabs(w[j * kernels::kCodeRows + static_cast<std::int64_t>(r)]));
    const auto measure = [&](const Row& tried) {
        kernels::tryScales({rule(), w, h, n, tried.data(), error.data(), wq.data(), qq.data()});
    };
    const auto offer = [&] {
        for (std::size_t r = 0; r < kRows; ++r)
            stored[r] = storedScale(wanted[r]);
        measure(stored);
        for (std::size_t r = 0; r < kRows; ++r)
            if (stored[r] > 0 && error[r] < bestError[r]) {
                bestError[r] = error[r];
                best[r] = stored[r];
            }
    };
    for (std::size_t r = 0; r < kRows; ++r) {
        base[r] /= m_highest;
        // Any gives zeros to a row of zeros.
        best[r] = storedScale(base[r] > 0 ? base[r] : 1);
    }
    measure(best);
    bestError = error;
    for (float ratio = m_firstRatio; ratio <= m_lastRatio; ratio += kRatioStep) {
        for (std::size_t r = 0; r < kRows; ++r)
            wanted[r] = base[r] * ratio;
        offer();
    }
    measure(best);
    for (std::size_t r = 0; r < kRows; ++r)
        wanted[r] = wq[r] > 0 && qq[r] > 0 ? static_cast<float>(static_cast<double>(wq[r]) / qq[r])
                                           : best[r];
    offer();
    std::copy(best.begin(), best.end(), scales);
}

void GroupQuantizer::roundTrip(const float* w, std::int64_t n, GroupGrid grid, float* out) const {
    const float inverse = 1.0f / grid.scale;
    for (std::int64_t j = 0; j < n; ++j)
        out[j] = codeOf(w[j], inverse, grid.shift) * grid.scale;
}

std::int8_t GroupQuantizer::encode(float code, float shift) const {
    if (m_grid == Grid::E4m3)
        return static_cast<std::int8_t>(kernels::floatToE4m3(code));
    if (m_grid == Grid::E2m1)
        return static_cast<std::int8_t>(kernels::floatToE2m1(code / 2));
    if (m_grid == Grid::E2m3)
        return static_cast<std::int8_t>(kernels::floatToE2m3(code / 8));
    if (m_grid == Grid::Nf4)
        return static_cast<std::int8_t>(kernels::floatToNf4(code));
    return static_cast<std::int8_t>((code - shift + kRoundMagic) - kRoundMagic);
}

namespace {

/// `bits` low bits of every code + offset, one after the other, lowest first. Rows are whole bytes.
void packBits(const std::int8_t* codes, std::int64_t count, int bits, int offset,
              std::uint8_t* out) {
    const unsigned mask = (1u << bits) - 1;
    unsigned held = 0;
    int have = 0;
    for (std::int64_t i = 0; i < count; ++i) {
        held |= (static_cast<unsigned>(codes[i] + offset) & mask) << have;
        for (have += bits; have >= 8; have -= 8, held >>= 8)
            *out++ = static_cast<std::uint8_t>(held);
    }
}

Tensor packedTensor(const QuantScheme& scheme, std::int64_t rows, std::int64_t cols,
                    const std::int8_t* codes) {
    const std::int64_t count = rows * cols;
    if (!kernels::hasGroups(scheme.format)) {
        Tensor bytes = Tensor::allocate(
            scheme.format == WeightFormat::Fp8Channel ? DType::F8E4M3 : DType::I8, {rows, cols});
        std::copy_n(codes, count, bytes.mutableAs<std::int8_t>());
        return bytes;
    }
    if (scheme.format == WeightFormat::MxFp8 || scheme.format == WeightFormat::Fp8Group) {
        Tensor bytes = Tensor::allocate(DType::F8E4M3, {rows, cols});
        std::copy_n(codes, count, bytes.mutableAs<std::int8_t>());
        return bytes;
    }
    const bool floats = ownScaleType(scheme.format, DType::F32) != DType::F32 ||
                        scheme.format == WeightFormat::Nf4Group;
    Tensor packed = floats ? Tensor::allocate(DType::U8, {rows, cols * scheme.bits / 8})
                           : Tensor::allocate(DType::I32, {rows, cols * scheme.bits / 32});
    packBits(codes, count, scheme.bits, floats ? 0 : 1 << (scheme.bits - 1),
             packed.mutableAs<std::uint8_t>());
    return packed;
}

/// GGUF's blocks of 32, scales and all.
Tensor blockTensor(const QuantScheme& scheme, std::int64_t rows, std::int64_t cols,
                   const std::int8_t* codes, const GroupGrid* grids) {
    const std::size_t bytes = kernels::blockBytes(scheme.format);
    const std::int64_t blocks = rows * (cols / scheme.groupSize);
    Tensor packed =
        Tensor::allocateBytes(DType::Block, {rows, cols}, static_cast<std::size_t>(blocks) * bytes);
    for (std::int64_t i = 0; i < blocks; ++i)
        storeBlock(scheme.format, grids[i].scale, codes + i * scheme.groupSize,
                   packed.mutableAs<std::byte>() + static_cast<std::size_t>(i) * bytes);
    return packed;
}

constexpr std::int64_t kZerosPerWord = 8;

Tensor packedZeros(const QuantScheme& scheme, std::int64_t rows, std::int64_t groups,
                   const GroupGrid* grids) {
    Tensor packed =
        Tensor::allocate(DType::I32, {(rows + kZerosPerWord - 1) / kZerosPerWord, groups});
    auto* words = packed.mutableAs<std::uint32_t>();
    std::fill_n(words, packed.elements(), 0u);
    for (std::int64_t row = 0; row < rows; ++row)
        for (std::int64_t g = 0; g < groups; ++g) {
            const int zero =
                (1 << (scheme.bits - 1)) - static_cast<int>(grids[row * groups + g].shift);
            words[row / kZerosPerWord * groups + g] |= static_cast<unsigned>(zero)
                                                       << (4 * (row % kZerosPerWord));
        }
    return packed;
}

}  // namespace

std::vector<float> shiftsOf(const QuantizedTensor& weight) {
    if (weight.zeroPoints.empty())
        return {};
    const Weight whole(weight);
    const kernels::WeightView view = whole.view();
    const std::int64_t groups = view.cols / view.groupSize;
    std::vector<float> shifts(static_cast<std::size_t>(view.rows * groups));
    for (std::int64_t i = 0; i < view.rows * groups; ++i)
        shifts[static_cast<std::size_t>(i)] = static_cast<float>(
            (1 << (weight.scheme.bits - 1)) - kernels::zeroPoint(view, i / groups, i % groups));
    return shifts;
}

ScaleSearch searchOf(const QuantScheme& scheme, ScaleSearch wanted) {
    return scheme.rowsPerScale() > 1 ? ScaleSearch::Absmax : wanted;
}

void shareScales(const QuantScheme& scheme, std::int64_t rows, std::int64_t groups,
                 GroupGrid* grids) {
    const std::int64_t together = std::min(rows, scheme.rowsPerScale());
    for (std::int64_t first = 0; together > 1 && first < rows; first += together)
        for (std::int64_t g = 0; g < groups; ++g) {
            const std::int64_t last = std::min(rows, first + together);
            float largest = 0;
            for (std::int64_t r = first; r < last; ++r)
                largest = std::max(largest, grids[r * groups + g].scale);
            for (std::int64_t r = first; r < last; ++r)
                grids[r * groups + g].scale = largest;
        }
}

QuantizedTensor packCodes(const QuantScheme& scheme, std::int64_t rows, std::int64_t cols,
                          const std::int8_t* codes, const GroupGrid* grids, DType scaleType,
                          float globalScale) {
    const std::int64_t group = scheme.granularity == Granularity::Group ? scheme.groupSize : cols;
    QuantizedTensor tensor;
    tensor.scheme = scheme;
    tensor.rows = rows;
    tensor.cols = cols;
    tensor.globalScale = globalScale;
    if (scheme.isScaledBlock()) {
        tensor.codes = blockTensor(scheme, rows, cols, codes, grids);
        return tensor;
    }
    tensor.codes = packedTensor(scheme, rows, cols, codes);
    const DType type = ownScaleType(scheme.format, scaleType);
    tensor.scales = Tensor::allocate(type, {rows, cols / group});
    for (std::int64_t i = 0; i < rows * (cols / group); ++i) {
        const float scale = grids[i].scale;
        if (type == DType::F8E4M3)
            tensor.scales.mutableAs<std::uint8_t>()[i] = nvFp4Byte(scale, globalScale);
        else if (type == DType::U8)
            tensor.scales.mutableAs<std::uint8_t>()[i] = powerByte(scale, unitsOf(scheme.format));
        else if (type == DType::F16)
            tensor.scales.mutableAs<std::uint16_t>()[i] = kernels::floatToHalf(scale);
        else if (type == DType::BF16)
            tensor.scales.mutableAs<std::uint16_t>()[i] = kernels::floatToBfloat16(scale);
        else
            tensor.scales.mutableAs<float>()[i] = scale;
    }
    if (!scheme.symmetric)
        tensor.zeroPoints = packedZeros(scheme, rows, cols / group, grids);
    return tensor;
}

QuantizedTensor quantizeWithGrids(const QuantScheme& scheme, std::int64_t rows, std::int64_t cols,
                                  const float* values, const GroupGrid* grids, DType scaleType,
                                  float globalScale) {
    const GroupQuantizer quantizer(scheme, ScaleSearch::Absmax, scaleType, globalScale);
    const std::int64_t group = quantizer.groupSize(cols), groups = cols / group;
    std::vector<std::int8_t> codes(static_cast<std::size_t>(rows * cols));
    std::vector<GroupGrid> stored(grids, grids + rows * groups);
    for (std::int64_t i = 0; i < rows * groups; ++i) {
        GroupGrid& grid = stored[static_cast<std::size_t>(i)];
        grid.scale = quantizer.storedScale(grid.scale);
        const float inverse = 1.0f / grid.scale;
        for (std::int64_t j = i * group; j < (i + 1) * group; ++j)
            codes[static_cast<std::size_t>(j)] =
                quantizer.encode(quantizer.codeOf(values[j], inverse, grid.shift), grid.shift);
    }
    return packCodes(scheme, rows, cols, codes.data(), stored.data(), scaleType, globalScale);
}

}  // namespace fettle
