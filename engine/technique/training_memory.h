// What a technique that trains says when memory runs out.
#pragma once

#include <new>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/core/error.h"

namespace fettle {

/// work(); a lack of memory becomes EngineError(OutOfMemory) naming the parameters that take less.
/// `saver`: the one that computes activations again rather than keeping them.
template <class Work>
auto withinMemory(const std::string& technique, const char* saver, const nlohmann::json& params,
                  const Work& work) {
    try {
        return work();
    } catch (const std::bad_alloc&) {
        const std::string less = "lower batch_tokens (" + params.at("batch_tokens").dump() +
                                 " now) or context, or train a smaller model";
        throw EngineError(
            ErrorKind::OutOfMemory,
            technique + ": not enough memory to train; " +
                (params.at(saver).get<bool>() ? less
                                              : "set " + std::string(saver) + " to true, " + less));
    }
}

}  // namespace fettle
