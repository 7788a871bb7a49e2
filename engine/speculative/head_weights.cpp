#include "engine/speculative/head_weights.h"

#include <algorithm>

#include "engine/quant/rtn.h"

namespace fettle {

Weight asWeight(const std::vector<float>& values, std::int64_t rows, std::int64_t cols) {
    Tensor dense = Tensor::allocate(DType::F32, {rows, cols});
    std::copy(values.begin(), values.end(), dense.mutableAs<float>());
    return Weight(std::move(dense));
}

Weight inInt8(const std::string& name, const Weight& weight, Backend& backend,
              RunControl& control) {
    if (weight.shape().at(1) % 32 != 0)
        return weight;
    RtnOptions options;
    options.scheme = *findQuantScheme("int8");
    options.search = ScaleSearch::Absmax;
    return Weight(quantizeRtn(name, weight, options, backend.pool(), control).tensor);
}

}  // namespace fettle
