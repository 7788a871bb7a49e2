// Name and version of the program, as stored with every experiment.
#pragma once

#include <string>

namespace fettle {

/// e.g. "0.1.0"
std::string applicationVersion();

}  // namespace fettle
