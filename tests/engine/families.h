// The architectures that every test of "all families" goes through: folders of tests/data and of
// the reference models.
#pragma once

#include <string>
#include <vector>

namespace fettle {

inline const std::vector<std::string> kFamilies = {"llama", "qwen3", "gpt2", "gemma3"};

}  // namespace fettle
