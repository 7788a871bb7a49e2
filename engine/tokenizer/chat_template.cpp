#include "engine/tokenizer/chat_template.h"

#include <array>

namespace fettle {

namespace {

struct Family {
    ChatFormat format;
    const char* name;
    const char* mark;  ///< in the template of this family and of none above it
    const char* before;
    const char* after;
};

constexpr std::array kFamilies{
    Family{ChatFormat::ChatMl, "ChatML", "<|im_start|>", "<|im_start|>user\n",
           "<|im_end|>\n<|im_start|>assistant\n"},
    Family{ChatFormat::Llama3, "Llama 3", "<|start_header_id|>",
           "<|start_header_id|>user<|end_header_id|>\n\n",
           "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"},
    Family{ChatFormat::Gemma, "Gemma", "<start_of_turn>", "<start_of_turn>user\n",
           "<end_of_turn>\n<start_of_turn>model\n"},
    Family{ChatFormat::DeepSeek, "DeepSeek", "<｜User｜>", "<｜User｜>", "<｜Assistant｜>"},
    Family{ChatFormat::Phi3, "Phi-3", "<|end|>", "<|user|>\n", "<|end|>\n<|assistant|>\n"},
    Family{ChatFormat::Zephyr, "Zephyr", "<|user|>", "<|user|>\n", "</s>\n<|assistant|>\n"},
    Family{ChatFormat::Llama2, "Llama 2 / Mistral", "[INST]", "[INST] ", " [/INST]"},
};

const Family& familyOf(ChatFormat format) {
    for (const Family& family : kFamilies)
        if (family.format == format)
            return family;
    return kFamilies.front();
}

}  // namespace

std::optional<ChatFormat> chatFormatOf(std::string_view chatTemplate) {
    for (const Family& family : kFamilies)
        if (chatTemplate.find(family.mark) != std::string_view::npos)
            return family.format;
    return std::nullopt;
}

std::string chatFormatName(ChatFormat format) {
    return familyOf(format).name;
}

std::string applyChatFormat(ChatFormat format, std::string_view prompt) {
    const Family& family = familyOf(format);
    return std::string(family.before).append(prompt).append(family.after);
}

}  // namespace fettle
