// Text inside HTML and XML.
#pragma once

#include <string>

namespace fettle::app {

/// Text as it may stand in HTML and XML content and in quoted attributes; bytes that are not UTF-8
/// are replaced, control characters dropped.
std::string markupText(const std::string& text);

}  // namespace fettle::app
