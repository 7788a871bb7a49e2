#include "engine/quant/sensitivity_units.h"

#include <algorithm>

#include "engine/core/error.h"
#include "engine/quant/rtn.h"

namespace fettle {

namespace {

bool fits(const QuantScheme& scheme, std::int64_t cols) {
    return scheme.granularity != Granularity::Group || cols % scheme.groupSize == 0;
}

}  // namespace

std::vector<SensitivityUnit> sensitivityUnits(const Model& model,
                                              const SensitivityOptions& options) {
    std::vector<SensitivityUnit> units;
    const auto add = [&](int layer, const std::string& name, std::vector<std::string> weights) {
        std::erase_if(weights, [&](const std::string& each) {
            return !model.has(each) || !options.eligible(each);
        });
        if (weights.empty())
            return;
        SensitivityUnit unit;
        unit.values.name = name;
        unit.values.layer = layer;
        unit.values.weights = weights;
        double plain = 0;
        for (const std::string& each : weights)
            plain += static_cast<double>(model.weight(each).bytes());
        const std::int64_t cols = model.weight(weights.front()).shape().at(1);
        for (const QuantScheme& scheme : options.schemes) {
            if (!fits(scheme, cols))
                continue;
            double bytes = 0;
            for (const std::string& each : weights)
                bytes += static_cast<double>(model.weight(each).elements()) *
                         scheme.bitsPerWeight(cols) / 8;
            unit.schemes.push_back(scheme);
            unit.values.choices.push_back({scheme.id, bytes, 0});
        }
        unit.values.choices.push_back({"none", plain, 0});
        units.push_back(std::move(unit));
    };
    for (std::int64_t i = 0; i < model.config.layerCount(); ++i) {
        const std::string at = "layers." + std::to_string(i) + ".";
        const int layer = static_cast<int>(i);
        add(layer, at + "attn.qkv",
            {at + "attn.q.weight", at + "attn.k.weight", at + "attn.v.weight"});
        add(layer, at + "attn.o", {at + "attn.o.weight"});
        add(layer, at + "ffn.gate_up", {at + "ffn.gate.weight", at + "ffn.up.weight"});
        add(layer, at + "ffn.down", {at + "ffn.down.weight"});
    }
    add(-1, "lm_head", {"lm_head.weight"});
    if (units.empty())
        throw EngineError(ErrorKind::Usage,
                          "mixed precision: every linear weight is excluded from quantization");
    return units;
}

Weight roundedWeight(const Model& model, const std::string& name, const QuantScheme& scheme,
                     const SensitivityOptions& options, const std::vector<float>* inputPower,
                     kernels::WorkerPool& pool, RunControl& control) {
    RtnOptions rtn;
    rtn.scheme = scheme;
    rtn.search = options.search;
    rtn.scaleType = options.scaleType;
    rtn.inputPower = inputPower;
    NullProgress quiet;
    RunControl silent = control.nested(quiet);
    return Weight(quantizeRtn(name, model.weight(name), rtn, pool, silent).tensor);
}

}  // namespace fettle
