#include "engine/experiment/model_report.h"

namespace fettle {

nlohmann::json toJson(const ModelReport& report) {
    nlohmann::json tensors = nlohmann::json::array();
    for (const TensorReport& tensor : report.tensors) {
        tensors.push_back({{"name", tensor.name},
                           {"weights", tensor.weights},
                           {"dtype", tensor.dtype},
                           {"shape", tensor.shape},
                           {"bytes", tensor.bytes},
                           {"bits_per_weight", tensor.bitsPerWeight}});
    }
    return {{"path", report.path},
            {"name", report.name},
            {"format", report.format},
            {"architecture", report.architecture},
            {"hash", report.hash},
            {"parameters", report.parameters},
            {"layers", report.layers},
            {"hidden_size", report.hiddenSize},
            {"heads", report.heads},
            {"kv_heads", report.kvHeads},
            {"head_dim", report.headDim},
            {"feed_forward_size", report.feedForwardSize},
            {"vocabulary_size", report.vocabularySize},
            {"context_length", report.contextLength},
            {"dtype", report.dtype},
            {"scheme", report.scheme},
            {"tokenizer", report.tokenizer},
            {"file_bytes", report.fileBytes},
            {"weight_bytes", report.weightBytes},
            {"kv_bytes_per_token", report.kvBytesPerToken},
            {"bits_per_weight", report.bitsPerWeight},
            {"has_chat_template", report.hasChatTemplate},
            {"tensors", tensors},
            {"warnings", report.warnings}};
}

}  // namespace fettle
