// Wraps a prompt the way a chat model was trained to see it. A model's template is a Jinja program;
// we recognise the families in use by the marks they put around turns, as llama.cpp does, rather
// than run a program from an untrusted file.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace fettle {

enum class ChatFormat { ChatMl, Llama3, Llama2, Gemma, Phi3, Zephyr, DeepSeek };

/// The family of a template, or nothing for one that is not known here.
std::optional<ChatFormat> chatFormatOf(std::string_view chatTemplate);
/// "ChatML", "Llama 3", ...
std::string chatFormatName(ChatFormat format);
/// One turn of the user, and the head of the answer. BOS is left to the tokenizer.
std::string applyChatFormat(ChatFormat format, std::string_view prompt);

}  // namespace fettle
