#include "engine/quant/importance_matrix.h"

namespace fettle {

ImportanceMatrix measureImportance(const Model& model, const CalibrationText& text,
                                   Backend& backend, RunControl& control) {
    using Half = Transformer::Half;
    Transformer transformer(model, backend, Transformer::LayerByLayer{});
    CalibrationStream stream(transformer, text, backend.pool(), control);
    ImportanceMatrix importance;
    const std::int64_t layers = model.config.layerCount();
    for (std::int64_t i = 0; i < layers; ++i) {
        const std::string layer = "layers." + std::to_string(i) + ".";
        transformer.prepareLayer(model, i, &control);
        for (const Half half : {Half::Attention, Half::FeedForward}) {
            control.progress((static_cast<double>(i) + (half == Half::FeedForward ? 0.4 : 0)) /
                                 static_cast<double>(layers),
                             "layer " + std::to_string(i + 1) + " of " + std::to_string(layers));
            const std::vector<float> outer = stream.collect(i, half, false, false, 0).meanSquare,
                                     inner = stream.collect(i, half, true, false, 0).meanSquare;
            if (half == Half::Attention) {
                for (const char* name : {"attn.q.weight", "attn.k.weight", "attn.v.weight"})
                    importance[layer + name] = outer;
                importance[layer + "attn.o.weight"] = inner;
            } else {
                for (const char* name : {"ffn.gate.weight", "ffn.up.weight"})
                    importance[layer + name] = outer;
                importance[layer + "ffn.down.weight"] = inner;
            }
            stream.advance(i, half);
        }
    }
    importance["lm_head.weight"] = stream.collectFinal(false, 0).meanSquare;
    return importance;
}

}  // namespace fettle
