#include "app/core/version.h"

namespace fettle {

std::string applicationVersion() {
    return FETTLE_VERSION;
}

}  // namespace fettle
