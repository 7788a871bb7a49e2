// Random activations and weights in every canonical format, for the kernel tests.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "kernels/cpu/isa.h"
#include "kernels/formats/small_float.h"
#include "kernels/formats/weight_format.h"

namespace fettle::kernels::test {

inline std::vector<Isa> availableIsas() {
    std::vector<Isa> all;
    for (const Isa isa : {Isa::Baseline, Isa::Avx2, Isa::Avx512Vnni, Isa::Amx})
        if (isa <= bestIsa())
            all.push_back(isa);
    return all;
}

/// Switches the instruction set for one scope.
class IsaScope {
public:
    explicit IsaScope(Isa isa) : m_before(currentIsa()) { setIsa(isa); }
    ~IsaScope() { setIsa(m_before); }
    IsaScope(const IsaScope&) = delete;
    IsaScope& operator=(const IsaScope&) = delete;

private:
    Isa m_before;
};

/// Memory that ends where the next page may not be touched.
class Fenced {
public:
    explicit Fenced(std::size_t count) {
        const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        const std::size_t bytes = count * sizeof(float), room = (bytes + page - 1) / page * page;
        m_size = room + page;
        m_memory =
            mmap(nullptr, m_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (m_memory == MAP_FAILED)
            throw std::bad_alloc();
        auto* start = static_cast<std::byte*>(m_memory);
        mprotect(start + room, page, PROT_NONE);
        m_values = reinterpret_cast<float*>(start + (room - bytes));
    }
    ~Fenced() { munmap(m_memory, m_size); }
    Fenced(const Fenced&) = delete;
    Fenced& operator=(const Fenced&) = delete;
    float* data() { return m_values; }

private:
    void* m_memory = nullptr;
    std::size_t m_size = 0;
    float* m_values = nullptr;
};

inline std::vector<float> randomFloats(std::int64_t count, std::uint32_t seed, float spread = 1) {
    std::mt19937 rng(seed);
    std::normal_distribution<float> normal(0, spread);
    std::vector<float> x(static_cast<std::size_t>(count));
    for (float& v : x)
        v = normal(rng);
    return x;
}

/// What the matmul tests run over: a format and, for formats with groups, its variant.
struct FormatCase {
    WeightFormat format;
    std::int64_t groupSize = 0;
    ScaleType scaleType = ScaleType::F32;
    bool zeroPoints = false;
    std::optional<ActivationFormat> activations = {};

    std::string label() const {
        std::string s = name(format);
        if (groupSize > 0)
            s += "_g" + std::to_string(groupSize) + "_s" +
                 std::to_string(static_cast<int>(scaleType)) + (zeroPoints ? "_asymmetric" : "");
        if (activations)
            s += "_s" + std::to_string(static_cast<int>(scaleType)) + "_a" +
                 std::to_string(static_cast<int>(*activations));
        return s;
    }
    bool hasMin() const {
        return format == WeightFormat::Q4_1 || format == WeightFormat::Q5_1 ||
               format == WeightFormat::Q4_K || format == WeightFormat::Q5_K;
    }
    bool plain() const { return format <= WeightFormat::BF16; }
    ActivationFormat rounding() const {
        WeightView w;
        w.format = format;
        w.activations = activations;
        return activationsOf(w);
    }
};

inline std::vector<FormatCase> allFormats() {
    using F = WeightFormat;
    std::vector<FormatCase> all;
    for (const F f : {F::F32, F::F16, F::BF16, F::Q8_0, F::Q4_0, F::Q4_1, F::Q5_0, F::Q5_1, F::Q3_K,
                      F::Q4_K, F::Q5_K, F::Q6_K, F::Int8Channel})
        all.push_back({f});
    all.push_back({F::Int4Group, 32, ScaleType::F16, false});
    all.push_back({F::Int4Group, 32, ScaleType::BF16, true});
    all.push_back({F::Int4Group, 64, ScaleType::F32, false});
    all.push_back({F::Int4Group, 128, ScaleType::BF16, false});
    all.push_back({F::Int4Group, 128, ScaleType::F16, true});
    all.push_back({F::Int4Group, 32, ScaleType::F32, true});
    using A = ActivationFormat;
    all.push_back({F::Int4Group, 64, ScaleType::F16, false, A::Int8Token});
    all.push_back({F::Int4Group, 32, ScaleType::BF16, true, A::Int8Token});
    all.push_back({F::Int4Group, 32, ScaleType::F16, false, A::Int4Group32});
    all.push_back({F::Int4Group, 32, ScaleType::F16, false, A::Int8Tensor});
    all.push_back({F::Int8Channel, 0, ScaleType::F32, false, A::Int8Tensor});
    all.push_back({F::Int3Group, 32, ScaleType::F16, false});
    all.push_back({F::Int3Group, 128, ScaleType::BF16, false});
    all.push_back({F::Int2Group, 64, ScaleType::F32, false});
    all.push_back({F::Int2Group, 32, ScaleType::F16, false});
    all.push_back({F::Int8Channel, 0, ScaleType::F16, false, A::Int8Group32});
    all.push_back({F::Int8Channel, 0, ScaleType::F32, false, A::Int8Group32});
    all.push_back({F::Fp8Channel, 0, ScaleType::BF16, false});
    all.push_back({F::NvFp4, 16, ScaleType::E4M3, false});
    all.push_back({F::NvFp4, 16, ScaleType::E4M3, false, A::NvFp4});
    all.push_back({F::MxFp4, 32, ScaleType::E8M0, false});
    all.push_back({F::MxFp4, 32, ScaleType::E8M0, false, A::MxFp4});
    all.push_back({F::MxFp8, 32, ScaleType::E8M0, false});
    all.push_back({F::MxFp8, 32, ScaleType::E8M0, false, A::MxFp8});
    all.push_back({F::Fp8Group, 128, ScaleType::BF16, false});
    all.push_back({F::Fp8Group, 32, ScaleType::F32, false});
    all.push_back({F::MxFp6, 32, ScaleType::E8M0, false});
    all.push_back({F::Nf4Group, 64, ScaleType::F16, false});
    all.push_back({F::Nf4Group, 32, ScaleType::BF16, false});
    return all;
}

/// A weight and the memory it lies in.
struct OwnedWeight {
    std::vector<std::uint8_t> data;
    std::vector<std::uint8_t> scales;
    std::vector<std::int32_t> zeroPoints;
    WeightView view;
};

inline void putHalf(std::uint8_t* p, float value) {
    const std::uint16_t h = floatToHalf(value);
    std::memcpy(p, &h, 2);
}

inline void putScale(std::vector<std::uint8_t>& out, ScaleType type, float value) {
    const std::size_t at = out.size();
    if (type == ScaleType::E4M3 || type == ScaleType::E8M0) {
        out.push_back(type == ScaleType::E4M3 ? floatToE4m3(std::fabs(value) * 1000)
                                              : floorE8m0(std::fabs(value)));
        return;
    }
    out.resize(at + (type == ScaleType::F32 ? 4 : 2));
    if (type == ScaleType::F32) {
        std::memcpy(out.data() + at, &value, 4);
    } else {
        const std::uint16_t bits =
            type == ScaleType::F16 ? floatToHalf(value) : floatToBfloat16(value);
        std::memcpy(out.data() + at, &bits, 2);
    }
}

/// Offsets of the f16 scales in a block; -1 ends.
inline std::vector<int> halfOffsets(WeightFormat f) {
    switch (f) {
        case WeightFormat::Q8_0:
        case WeightFormat::Q4_0:
        case WeightFormat::Q5_0:
            return {0};
        case WeightFormat::Q4_1:
        case WeightFormat::Q5_1:
        case WeightFormat::Q4_K:
        case WeightFormat::Q5_K:
            return {0, 2};
        case WeightFormat::Q3_K:
            return {108};
        case WeightFormat::Q6_K:
            return {208};
        default:
            return {};
    }
}

inline OwnedWeight randomWeight(const FormatCase& c, std::int64_t rows, std::int64_t cols,
                                std::uint32_t seed) {
    std::mt19937 rng(seed);
    std::normal_distribution<float> normal(0, 1);
    OwnedWeight w;
    w.data.resize(static_cast<std::size_t>(rows) * rowBytes(c.format, cols));
    for (std::uint8_t& b : w.data)
        b = static_cast<std::uint8_t>(rng());
    if (c.format == WeightFormat::F32) {
        const std::vector<float> x = randomFloats(rows * cols, seed);
        std::memcpy(w.data.data(), x.data(), w.data.size());
    } else if (c.plain()) {
        for (std::size_t i = 0; i < w.data.size(); i += 2) {
            const float v = normal(rng);
            const std::uint16_t bits =
                c.format == WeightFormat::F16 ? floatToHalf(v) : floatToBfloat16(v);
            std::memcpy(w.data.data() + i, &bits, 2);
        }
    } else {
        for (std::size_t at = 0; at < w.data.size() && blockValues(c.format) > 1;
             at += blockBytes(c.format))
            for (const int offset : halfOffsets(c.format))
                putHalf(w.data.data() + at + offset, 0.01F * normal(rng));
    }
    for (std::uint8_t& b : w.data)
        if ((c.format == WeightFormat::Fp8Channel || c.format == WeightFormat::MxFp8 ||
             c.format == WeightFormat::Fp8Group) &&
            (b & 0x7F) == 0x7F)
            b = 0x7E;  // no NaN
    w.view.format = c.format;
    w.view.activations = c.activations;
    if (c.format == WeightFormat::NvFp4) {
        w.view.globalScale = 700.0F;
        w.view.inputGlobalScale = 90.0F;
    }
    if (c.activations == ActivationFormat::Int8Tensor)
        w.view.inputGlobalScale = 0.032F;  // up to four times the spread of randomFloats
    w.view.rows = rows;
    w.view.cols = cols;
    if (c.format == WeightFormat::Int8Channel || c.format == WeightFormat::Fp8Channel)
        for (std::int64_t r = 0; r < rows; ++r)
            putScale(w.scales, c.scaleType, 0.01F * normal(rng));
    if (c.groupSize > 0) {
        const std::int64_t groups = cols / c.groupSize;
        for (std::int64_t i = 0; i < rows * groups; ++i)
            putScale(w.scales, c.scaleType, 0.01F * normal(rng));
        if (c.zeroPoints)
            for (std::int64_t i = 0; i < (rows + 7) / 8 * groups; ++i)
                w.zeroPoints.push_back(static_cast<std::int32_t>(rng()));
        w.view.zeroPoints = c.zeroPoints ? w.zeroPoints.data() : nullptr;
        w.view.groupSize = c.groupSize;
    }
    w.view.data = w.data.data();
    w.view.scales = w.scales.empty() ? nullptr : w.scales.data();
    w.view.scaleType = c.scaleType;
    return w;
}

inline double norm(const float* x, std::int64_t count) {
    double sum = 0;
    for (std::int64_t i = 0; i < count; ++i)
        sum += static_cast<double>(x[i]) * x[i];
    return std::sqrt(sum);
}

}  // namespace fettle::kernels::test
