#include "engine/io/kquant_mixture.h"

#include "engine/model/model.h"

namespace fettle {

using kernels::WeightFormat;

namespace {

/// The first and last eighth of the layers, and every third between.
bool getsMoreBits(std::int64_t layer, std::int64_t layers) {
    return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

}  // namespace

WeightFormat kQuantMixture(WeightFormat base, const std::string& name, std::int64_t layers) {
    const bool value = name.ends_with("attn.v.weight"), down = name.ends_with("ffn.down.weight");
    if (base != WeightFormat::Q3_K)
        return (value || down) && getsMoreBits(layerOf(name), layers) ? WeightFormat::Q6_K : base;
    if ((value && layerOf(name) < 2) || (down && layerOf(name) < layers / 16))
        return WeightFormat::Q5_K;
    return value || down || name.ends_with("attn.o.weight") ? WeightFormat::Q4_K : base;
}

WeightFormat kQuantForRows(WeightFormat format, std::int64_t cols) {
    if (cols % kernels::blockValues(format) == 0)
        return format;
    return format == WeightFormat::Q3_K   ? WeightFormat::Q4_0
           : format == WeightFormat::Q4_K ? WeightFormat::Q5_0
                                          : WeightFormat::Q8_0;
}

}  // namespace fettle
