// A weight in emulated device memory.
#pragma once

#include <vector>

#include "kernels/cuda/weight_layout.h"
#include "tests/kernels/kernel_data.h"
#include "tests/simt/emulator/device_array.h"

namespace fettle::kernels::test {

struct OnDevice {
    explicit OnDevice(const WeightView& w)
        : layout(cuda::weightLayout(w)), memory(packed(w, layout)), view{layout, memory.data()} {}

    static std::vector<std::byte> packed(const WeightView& w, const cuda::WeightLayout& layout) {
        std::vector<std::byte> all(layout.bytes);
        for (int s = 0; s < cuda::WeightLayout::kSections; ++s) {
            const auto& section = layout.sections[static_cast<std::size_t>(s)];
            if (section.stride > 0)
                cuda::packSection(w, layout, s, 0, section.rows, all.data() + section.begin);
        }
        return all;
    }

    cuda::WeightLayout layout;
    simt::DeviceArray<std::byte> memory;
    cuda::DeviceWeightView view;
};

/// Whether the device holds the format in groups of 32 values; others in rows of any width.
inline bool hasGroupsOf32(const FormatCase& format) {
    return !format.plain() && !(format.format == WeightFormat::Int8Channel &&
                                format.rounding() == ActivationFormat::Int8Token);
}

}  // namespace fettle::kernels::test
