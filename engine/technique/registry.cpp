#include <algorithm>
#include <regex>

#include "engine/core/error.h"
#include "engine/technique/distill.h"
#include "engine/technique/eagle.h"
#include "engine/technique/medusa.h"
#include "engine/technique/prune.h"
#include "engine/technique/ptq.h"
#include "engine/technique/qad.h"
#include "engine/technique/qat.h"
#include "engine/technique/speculative.h"
#include "engine/technique/technique.h"

namespace fettle {

const std::vector<const Technique*>& techniques() {
    static const Ptq ptq;
    static const Qat qat;
    static const Qad qad;
    static const Speculative speculative;
    static const Medusa medusa;
    static const Eagle eagle;
    static const Prune prune;
    static const Distill distill;
    static const std::vector<const Technique*> all{&ptq,    &qat,   &qad,   &speculative,
                                                   &medusa, &eagle, &prune, &distill};
    return all;
}

const Technique* findTechnique(std::string_view id) {
    const auto& all = techniques();
    const auto found = std::find_if(all.begin(), all.end(),
                                    [&](const Technique* t) { return t->descriptor().id == id; });
    return found == all.end() ? nullptr : *found;
}

std::vector<TechniqueDescriptor> techniqueDescriptors() {
    std::vector<TechniqueDescriptor> descriptors;
    for (const Technique* technique : techniques())
        descriptors.push_back(technique->descriptor());
    return descriptors;
}

namespace {

std::string globToRegex(const std::string& glob) {
    std::string regex;
    for (const char c : glob) {
        if (c == '*')
            regex += ".*";
        else if (c == '?')
            regex += '.';
        else if (std::string_view("\\^$.|+()[]{}").find(c) != std::string_view::npos)
            regex += std::string("\\") + c;
        else
            regex += c;
    }
    return regex;
}

}  // namespace

bool matchesAny(const std::string& name, const std::vector<std::string>& patterns) {
    return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
        const bool regular = pattern.rfind("re:", 0) == 0;
        try {
            return std::regex_match(name,
                                    std::regex(regular ? pattern.substr(3) : globToRegex(pattern)));
        } catch (const std::regex_error&) {
            throw EngineError(ErrorKind::Usage,
                              "the pattern \"" + pattern + "\" is not a valid regular expression");
        }
    });
}

}  // namespace fettle
