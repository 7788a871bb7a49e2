// Chat templates: families are told apart, and a turn is wrapped as their models expect it.
#include <gtest/gtest.h>

#include "engine/tokenizer/chat_template.h"

namespace fettle {
namespace {

TEST(ChatTemplate, FamiliesAreToldApart) {
    const std::pair<const char*, ChatFormat> cases[] = {
        {"{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n'}}",
         ChatFormat::ChatMl},
        {"{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}",
         ChatFormat::Llama3},
        {"{{ '<start_of_turn>' + role + '\n' + content + '<end_of_turn>\n' }}", ChatFormat::Gemma},
        {"{{'<|user|>' + '\n' + message['content'] + '<|end|>' + '\n'}}", ChatFormat::Phi3},
        {"{{ '<|user|>\n' + message['content'] + eos_token }}", ChatFormat::Zephyr},
        {"{{ '[INST] ' + message['content'] + ' [/INST]' }}", ChatFormat::Llama2},
        {"{{'<｜User｜>' + message['content']}}", ChatFormat::DeepSeek},
    };
    for (const auto& [text, format] : cases)
        EXPECT_EQ(chatFormatOf(text), format) << text;
    EXPECT_FALSE(chatFormatOf(""));
    EXPECT_FALSE(chatFormatOf("{{ message['content'] }}"));
}

TEST(ChatTemplate, WrapsOneTurn) {
    EXPECT_EQ(applyChatFormat(ChatFormat::ChatMl, "Hi"),
              "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
    EXPECT_EQ(applyChatFormat(ChatFormat::Llama3, "Hi"),
              "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
              "<|start_header_id|>assistant<|end_header_id|>\n\n");
    EXPECT_EQ(applyChatFormat(ChatFormat::Gemma, "Hi"),
              "<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n");
    EXPECT_EQ(applyChatFormat(ChatFormat::Llama2, "Hi"), "[INST] Hi [/INST]");
    EXPECT_EQ(chatFormatName(ChatFormat::Llama3), "Llama 3");
}

}  // namespace
}  // namespace fettle
