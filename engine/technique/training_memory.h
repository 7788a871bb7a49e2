// What a technique that trains says when memory runs out.
#pragma once

#include <new>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/core/error.h"

namespace fettle {

/// work(); a lack of memory, of the host or a device, becomes EngineError(OutOfMemory) with
/// `advice`.
template <class Work>
auto withinMemory(const std::string& advice, const Work& work) {
    try {
        return work();
    } catch (const std::bad_alloc&) {
        throw EngineError(ErrorKind::OutOfMemory, advice);
    } catch (const EngineError& error) {  // of a device, which says how much there is
        if (error.kind() != ErrorKind::OutOfMemory)
            throw;
        throw EngineError(ErrorKind::OutOfMemory, advice + " (" + error.what() + ")");
    }
}

/// Names the parameters of a technique that take less. `saver`: the one that computes activations
/// again rather than keeping them.
inline std::string memoryAdvice(const std::string& technique, const char* saver,
                                const nlohmann::json& params) {
    const std::string less = "lower batch_tokens (" + params.at("batch_tokens").dump() +
                             " now) or context, or train a smaller model";
    return technique + ": not enough memory to train; " +
           (params.at(saver).get<bool>() ? less
                                         : "set " + std::string(saver) + " to true, " + less);
}

}  // namespace fettle
