// The part of ptq that gives every weight a scheme of its own: sensitivity measured, then the
// allocation of least loss under the wanted bits per weight.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/quant/calibration.h"
#include "engine/technique/technique.h"
#include "engine/tensor/quant_scheme.h"

namespace fettle {

/// Tokens that scores are measured on: they rank weights, which needs far fewer than calibrating.
constexpr std::int64_t kScoredTokens = 2048;

/// Parameters "target_bits", "sensitivity", "mix" and "schemes" for the descriptor of ptq.
std::vector<ParameterSchema> mixedPrecisionParameters();

/// Whether `params` ask for mixed precision.
bool wantsMixedPrecision(const nlohmann::json& params);

/// The parameter "schemes": NAME=SCHEME for single weights, NAME a pattern of tensor names or a
/// unit of bit_allocation.h, SCHEME "none" for leaving a weight as it is. The first that fits
/// counts.
class SchemeAssignments {
public:
    /// Throws EngineError(Usage) naming an entry that is no assignment or names no scheme that
    /// weights can be quantized to.
    explicit SchemeAssignments(const nlohmann::json& params);

    bool empty() const { return m_entries.empty(); }
    /// Whether an entry is for this weight; `scheme` then is what it says, nothing for "none".
    bool find(const std::string& weight, std::optional<QuantScheme>& scheme) const;
    /// Entries that fit none of `weights`.
    std::vector<std::string> unused(const std::vector<std::string>& weights) const;

private:
    struct Entry {
        std::string name;
        std::optional<QuantScheme> scheme;
    };
    static bool fits(const Entry& entry, const std::string& weight);

    std::vector<Entry> m_entries;
};

/// Schemes by canonical weight name; weights that stay as they are have none. Scores, the
/// allocation and the predicted divergence go to the context's layer metrics and metrics. Throws
/// EngineError(Usage) for an unknown scheme in "mix" and where even the smallest schemes need more
/// bits than wanted.
std::map<std::string, QuantScheme> mixedSchemes(
    const Model& model, const CalibrationText& text, DType scaleType,
    const std::function<bool(const std::string&)>& eligible, TechniqueContext& context);

}  // namespace fettle
