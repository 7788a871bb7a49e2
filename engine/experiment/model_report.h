// What `inspect` tells about a model file, as plain values.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace fettle {

struct TensorReport {
    std::string name;   ///< name in the file
    std::string dtype;  ///< "BF16", "Q4_K", "int4-g32", ...
    std::vector<std::int64_t> shape;
    std::uint64_t bytes = 0;
    double bitsPerWeight = 0;
    std::vector<std::string> weights = {};  ///< canonical names; a fused tensor holds several
};

struct ModelReport {
    std::string path;
    std::string name;
    std::string format;        ///< "safetensors" or "gguf"
    std::string architecture;  ///< "llama", "qwen3", "gpt2", "gemma3"
    std::string hash;          ///< content hash; empty until computed
    std::uint64_t parameters = 0;
    std::int64_t layers = 0;
    std::int64_t hiddenSize = 0;
    std::int64_t heads = 0;
    std::int64_t kvHeads = 0;
    std::int64_t headDim = 0;
    std::int64_t feedForwardSize = 0;
    std::int64_t vocabularySize = 0;
    std::int64_t contextLength = 0;
    std::string dtype;   ///< the type that holds most weights
    std::string scheme;  ///< quantization scheme, empty for a plain model
    std::string tokenizer;
    std::uint64_t fileBytes = 0;
    std::uint64_t weightBytes = 0;
    std::uint64_t kvBytesPerToken = 0;
    double bitsPerWeight = 0;
    bool hasChatTemplate = false;
    std::vector<TensorReport> tensors;
    std::vector<std::string> warnings;
};

nlohmann::json toJson(const ModelReport& report);

/// Distribution of one tensor's dequantized values.
struct TensorHistogram {
    std::string tensor;
    double minimum = 0;
    double maximum = 0;
    double mean = 0;
    double standardDeviation = 0;
    double zeros = 0;  ///< share of exact zeros, 0..1
    std::uint64_t count = 0;
    std::vector<std::uint64_t> bins;  ///< equal width over [minimum, maximum]
};

}  // namespace fettle
