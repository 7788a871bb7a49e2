#include "engine/core/error.h"

namespace fettle {

void throwBadInput(const std::string& path, const std::string& cause) {
    throw EngineError(ErrorKind::BadInput, path + ": " + cause);
}

}  // namespace fettle
