#include "kernels/cpu/packed_layout.h"

#include <cmath>
#include <stdexcept>
#include <string>

namespace fettle::kernels {
namespace {

std::size_t roundUp64(std::size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

[[noreturn]] void refuse(const WeightView& w, const std::string& why) {
    throw std::invalid_argument(std::string("pack ") + name(w.format) + " [" +
                                std::to_string(w.rows) + ", " + std::to_string(w.cols) +
                                "]: " + why);
}

void check(const WeightView& w) {
    if (w.rows < 0 || w.cols <= 0)
        refuse(w, "sizes must be positive");
    if (!w.data && w.rows > 0)
        refuse(w, "no data");
    const std::int64_t values = blockValues(w.format);
    if (w.cols % values != 0)
        refuse(w, "cols must be a multiple of " + std::to_string(values));
    const bool channel =
        w.format == WeightFormat::Int8Channel || w.format == WeightFormat::Fp8Channel;
    if (!w.scales && (channel || hasGroups(w.format)))
        refuse(w, "no scales");
    const std::int64_t unit = w.format == WeightFormat::NvFp4 ? 16 : kGroupValues;
    const bool fixed = w.format == WeightFormat::NvFp4 || w.format == WeightFormat::MxFp4 ||
                       w.format == WeightFormat::MxFp8 || w.format == WeightFormat::MxFp6;
    if (hasGroups(w.format) &&
        (w.groupSize <= 0 || w.groupSize % unit != 0 || (fixed && w.groupSize != unit) ||
         w.cols % w.groupSize != 0 || w.cols % kGroupValues != 0))
        refuse(w, "needs cols in whole groups of 32 and a group size that divides them, " +
                      (fixed ? std::to_string(unit) : "a multiple of 32") + "; it is " +
                      std::to_string(w.groupSize));
    const ActivationFormat activations = activationsOf(w);
    const std::int64_t block = activationBlock(activations);
    if (block > 0 && w.cols % block != 0)
        refuse(w, "cols must be a multiple of " + std::to_string(block) + " for activations as " +
                      name(activations));
    if (activations == ActivationFormat::Int8Tensor &&
        !(w.inputGlobalScale > 0 && std::isfinite(1 / w.inputGlobalScale)))
        refuse(w, "its activations need a scale above zero");
    const bool mx = w.format == WeightFormat::MxFp8 && activations == ActivationFormat::MxFp8;
    if (isWidened(w.format) && activations != ActivationFormat::None && !mx)
        refuse(w, std::string("its products take activations as they are, not as ") +
                      name(activations));
    if (activations == ActivationFormat::MxFp8 && !mx)
        refuse(w, "activations as mxfp8 need weights as mxfp8");
    const bool sixteenths = w.format == WeightFormat::NvFp4;
    if ((activations == ActivationFormat::NvFp4) > sixteenths)
        refuse(w, "activations per 16 values need weights per 16 values");
}

/// Bytes of the scale section for `blocks` scale blocks.
std::size_t scaleBytes(ScaleLayout scales, std::size_t blocks) {
    switch (scales) {
        case ScaleLayout::None:
            return 0;
        case ScaleLayout::Channel:
            return 64;
        case ScaleLayout::F16:
        case ScaleLayout::BF16:
            return blocks * 32;
        case ScaleLayout::F32:
        case ScaleLayout::F16Min:
            return blocks * 64;
        case ScaleLayout::SubMin:
            return blocks * 320;
        case ScaleLayout::Sub16:
            return blocks * 288;
        case ScaleLayout::E8M0:
            return blocks * 16;
        case ScaleLayout::E4M3Halves:
            return 64 + blocks * 32;
    }
    return 0;
}

struct Shape {
    int bits;
    ScaleLayout scales;
    int zero;
    std::int64_t groupsPerScale;
};

ScaleLayout layoutOf(ScaleType type) {
    return type == ScaleType::F32   ? ScaleLayout::F32
           : type == ScaleType::F16 ? ScaleLayout::F16
                                    : ScaleLayout::BF16;
}

Shape shapeOf(const WeightView& w) {
    switch (w.format) {
        case WeightFormat::F32:
            return {32, ScaleLayout::None, 0, 1};
        case WeightFormat::F16:
        case WeightFormat::BF16:
            return {16, ScaleLayout::None, 0, 1};
        case WeightFormat::Q8_0:
            return {8, ScaleLayout::F16, 128, 1};
        case WeightFormat::Q4_0:
            return {4, ScaleLayout::F16, 8, 1};
        case WeightFormat::Q4_1:
            return {4, ScaleLayout::F16Min, 0, 1};
        case WeightFormat::Q5_0:
            return {5, ScaleLayout::F16, 16, 1};
        case WeightFormat::Q5_1:
            return {5, ScaleLayout::F16Min, 0, 1};
        case WeightFormat::Q3_K:
            return {3, ScaleLayout::Sub16, 4, 8};
        case WeightFormat::Q4_K:
            return {4, ScaleLayout::SubMin, 0, 8};
        case WeightFormat::Q5_K:
            return {5, ScaleLayout::SubMin, 0, 8};
        case WeightFormat::Q6_K:
            return {6, ScaleLayout::Sub16, 32, 8};
        case WeightFormat::Int8Channel:
            if (activationBlock(activationsOf(w)) == 0)
                return {8, ScaleLayout::Channel, 128, 1};
            return {8, ScaleLayout::F32, 128, w.cols / kGroupValues};
        case WeightFormat::Int4Group:
            return {4, layoutOf(w.scaleType), w.zeroPoints ? 0 : 8, w.groupSize / kGroupValues};
        case WeightFormat::Int3Group:
            return {3, layoutOf(w.scaleType), 4, w.groupSize / kGroupValues};
        case WeightFormat::Int2Group:
            return {2, layoutOf(w.scaleType), 2, w.groupSize / kGroupValues};
        case WeightFormat::NvFp4:
            return {4, ScaleLayout::E4M3Halves, 12, 1};
        case WeightFormat::MxFp4:
            return {4, ScaleLayout::E8M0, 12, 1};
        case WeightFormat::Fp8Channel:
            return {8, ScaleLayout::None, 0, 1};
        case WeightFormat::MxFp8:
        case WeightFormat::Fp8Group:
        case WeightFormat::MxFp6:
            return {8, ScaleLayout::F32, 0, 1};
        case WeightFormat::Nf4Group:
            return {4, ScaleLayout::F32, 0, w.groupSize / kGroupValues};
    }
    refuse(w, "unknown format");
}

}  // namespace

PackedLayout packedLayout(const WeightView& w) {
    check(w);
    const Shape shape = shapeOf(w);
    PackedLayout p;
    p.rows = w.rows;
    p.cols = w.cols;
    p.codeBits = shape.bits;
    p.scales = shape.scales;
    p.zero = shape.zero;
    p.groupsPerScale = shape.groupsPerScale;
    p.e2m1 = w.format == WeightFormat::NvFp4 || w.format == WeightFormat::MxFp4;
    p.activations = activationsOf(w);
    p.inputGlobalScale = w.inputGlobalScale;
    p.panels = (w.rows + kPanelRows - 1) / kPanelRows;
    const auto cols = static_cast<std::size_t>(w.cols);
    if (shape.bits >= 16) {
        const std::size_t steps = w.format == WeightFormat::BF16 ? (cols + 1) / 2 * 2 : cols;
        p.panelBytes = roundUp64(steps * kPanelRows * static_cast<std::size_t>(shape.bits) / 8);
        return p;
    }
    if (w.format == WeightFormat::Fp8Channel) {
        p.scaleOffset = roundUp64(cols * kPanelRows);
        p.panelBytes = p.scaleOffset + 64;
        return p;
    }
    if (isWidened(w.format)) {
        p.scaleGroup = w.groupSize;
        p.scaleOffset = roundUp64(cols * kPanelRows * static_cast<std::size_t>(shape.bits) / 8);
        p.panelBytes = p.scaleOffset + static_cast<std::size_t>(w.cols / w.groupSize) * 64;
        return p;
    }
    p.zeroPoints = w.format == WeightFormat::Int4Group && w.zeroPoints;
    // Int8Channel takes any number of columns; codes of the last group beyond it are never
    // multiplied by anything but 0.
    p.groups = (w.cols + kGroupValues - 1) / kGroupValues;
    p.groupBytes = static_cast<std::size_t>(64 * shape.bits);
    p.scaleOffset = static_cast<std::size_t>(p.groups) * p.groupBytes;
    const auto blocks = static_cast<std::size_t>(p.groups / p.groupsPerScale);
    p.zeroOffset = p.scaleOffset + scaleBytes(p.scales, blocks);
    p.panelBytes = roundUp64(p.zeroOffset + (p.zeroPoints ? blocks * kPanelRows : 0));
    return p;
}

}  // namespace fettle::kernels
