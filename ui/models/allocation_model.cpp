#include "ui/models/allocation_model.h"

#include <QElapsedTimer>
#include <QSet>
#include <QStringList>
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace fettle::ui {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kEverything = std::numeric_limits<double>::max() / 4;  ///< a budget without limit

const RecipeStep* scoringStep(const Recipe& recipe) {
    const auto found =
        std::find_if(recipe.steps.begin(), recipe.steps.end(), [](const RecipeStep& step) {
            return step.technique == "ptq" && step.params.is_object() &&
                   step.params.contains("target_bits");
        });
    return found == recipe.steps.end() ? nullptr : &*found;
}

std::string wordOf(const RecipeStep& step, const char* name, const char* otherwise) {
    const auto value = step.params.find(name);
    return value != step.params.end() && value->is_string() ? value->get<std::string>() : otherwise;
}

bool flagOf(const RecipeStep& step, const char* name) {
    const auto value = step.params.find(name);
    return value != step.params.end() && value->is_boolean() && value->get<bool>();
}

bool listed(const RecipeStep& step, const char* name) {
    const auto value = step.params.find(name);
    return value != step.params.end() && value->is_array() && !value->empty();
}

/// The scheme that a recipe gives every weight that `scores` is about; "none" for the model as it
/// is, empty for anything else.
std::string uniformScheme(const Recipe& recipe, const RecipeStep& scored) {
    if (recipe.steps.empty())
        return "none";
    const RecipeStep& step = recipe.steps.front();
    const bool plain = recipe.steps.size() == 1 && step.technique == "ptq" &&
                       step.params.is_object() && !listed(step, "schemes") &&
                       !listed(step, "exclude") && step.params.value("target_bits", 0.0) == 0 &&
                       flagOf(step, "quantize_head") == flagOf(scored, "quantize_head");
    return plain ? wordOf(step, "scheme", "int8") : std::string();
}

}  // namespace

bool mayHoldScores(const ExperimentRecord& record) {
    return record.status == ExperimentStatus::Finished && record.metrics.contains("mixed_weights");
}

AllocationScores allocationScores(const ExperimentDetail& detail) {
    AllocationScores scores;
    const auto counted = detail.record.metrics.find("mixed_weights");
    const RecipeStep* step = scoringStep(detail.record.recipe);
    if (counted == detail.record.metrics.end() || !step)
        return scores;
    scores.experiment = detail.record.id;
    scores.units = allocationUnitsFrom(detail.layerMetrics);
    scores.weights = counted->second.value;
    scores.divergence = wordOf(*step, "sensitivity", "kl") == "kl";
    scores.step = *step;
    return scores;
}

void addModelFacts(AllocationScores& scores, const ModelReport& report) {
    const bool ownHead =
        std::any_of(report.tensors.begin(), report.tensors.end(), [](const TensorReport& tensor) {
            return std::find(tensor.weights.begin(), tensor.weights.end(), "lm_head.weight") !=
                   tensor.weights.end();
        });
    double scored = 0;
    for (const AllocationUnit& unit : scores.units) {
        // A head that is the embedding stays where it is; what is quantized is a copy.
        if (unit.name == "lm_head" && !ownHead)
            continue;
        for (const SchemeChoice& choice : unit.choices)
            scored += choice.scheme == "none" ? choice.bytes : 0;
    }
    scores.otherBytes = std::max(0.0, static_cast<double>(report.weightBytes) - scored);
    scores.kvBytesPerToken = static_cast<double>(report.kvBytesPerToken);
    scores.contextLength = report.contextLength;
}

void addMeasuredSpeeds(AllocationScores& scores, const ExperimentList& records) {
    scores.secondsPerToken.clear();
    const auto self = std::find_if(records.begin(), records.end(), [&](const ExperimentRecord& r) {
        return r.id == scores.experiment;
    });
    if (self == records.end())
        return;
    const auto own = self->metrics.find("decode_tokens_per_s");
    for (const ExperimentRecord& record : records) {
        const auto speed = record.metrics.find("decode_tokens_per_s");
        if (record.status != ExperimentStatus::Finished || record.modelHash != self->modelHash ||
            record.device != self->device || speed == record.metrics.end() ||
            !(speed->second.value > 0) || !speed->second.native)
            continue;
        // Prompts of another length have another speed.
        if (own != self->metrics.end() && own->second.protocol != speed->second.protocol)
            continue;
        const std::string scheme = uniformScheme(record.recipe, scores.step);
        if (!scheme.empty())
            scores.secondsPerToken[scheme] = 1 / speed->second.value;
    }
}

AllocationModel::AllocationModel(QObject* parent) : QObject(parent) {}

void AllocationModel::setScores(AllocationScores scores) {
    const bool same = scores.experiment == m_scores.experiment && !m_scores.empty() &&
                      scores.units.size() == m_scores.units.size();
    if (same) {
        // Facts that came later must not undo what the user pinned.
        for (std::size_t u = 0; u < scores.units.size(); ++u)
            scores.units[u].pinned = m_scores.units[u].pinned;
    }
    m_scores = std::move(scores);
    m_plainBytes = 0;
    for (const AllocationUnit& unit : m_scores.units)
        for (const SchemeChoice& choice : unit.choices)
            m_plainBytes += choice.scheme == "none" ? choice.bytes : 0;
    if (!problem(m_target).isEmpty())
        m_target = Target::Bits;
    if (!same)
        m_value = kNaN;
    emit scoresChanged();
    updateRange();
}

double AllocationModel::shareOf(std::size_t unit) const {
    for (const SchemeChoice& choice : m_scores.units[unit].choices)
        if (choice.scheme == "none")
            return m_plainBytes > 0 ? choice.bytes / m_plainBytes : 0;
    return 0;
}

std::vector<AllocationUnit> AllocationModel::timedUnits(
    std::vector<std::vector<std::size_t>>& kept) const {
    std::vector<AllocationUnit> timed = m_scores.units;
    kept.assign(timed.size(), {});
    for (std::size_t u = 0; u < timed.size(); ++u) {
        const AllocationUnit& unit = m_scores.units[u];
        timed[u].choices.clear();
        timed[u].pinned = -1;
        for (std::size_t c = 0; c < unit.choices.size(); ++c) {
            const auto seconds = m_scores.secondsPerToken.find(unit.choices[c].scheme);
            const bool allowed = unit.pinned < 0 || unit.pinned == static_cast<int>(c);
            if (seconds == m_scores.secondsPerToken.end() || !allowed)
                continue;
            timed[u].choices.push_back(
                {unit.choices[c].scheme, seconds->second * shareOf(u), unit.choices[c].loss});
            kept[u].push_back(c);
        }
        if (kept[u].empty())
            return {};
    }
    return timed;
}

QString AllocationModel::problem(Target target) const {
    if (m_scores.empty())
        return tr("There are no scores to choose by.");
    if (target == Target::Speed) {
        std::size_t measured = 0;
        for (const auto& [scheme, seconds] : m_scores.secondsPerToken)
            measured += std::any_of(m_scores.units.begin(), m_scores.units.end(),
                                    [&, &id = scheme](const AllocationUnit& unit) {
                                        return std::any_of(unit.choices.begin(), unit.choices.end(),
                                                           [&](const SchemeChoice& choice) {
                                                               return choice.scheme == id;
                                                           });
                                    });
        if (measured < 2)
            return tr(
                "Needs measured decode speeds of this model with at least two of the "
                "schemes, each used for all weights: run them on the Recipe page.");
        std::vector<std::vector<std::size_t>> kept;
        if (timedUnits(kept).empty())
            return tr("A pinned scheme has no measured speed.");
    }
    const bool bytes = target == Target::FileSize || target == Target::Memory;
    if (bytes && !m_scores.otherBytes)
        return tr("The model's file has not been read, so its other tensors are unknown.");
    return {};
}

void AllocationModel::setTarget(Target target) {
    if (target == m_target || !problem(target).isEmpty())
        return;
    // The same allocation, said in the new unit: the slider does not jump.
    const BitAllocation before = m_allocation;
    m_target = target;
    switch (target) {
        case Target::Bits:
            m_value = bitsOf(before);
            break;
        case Target::FileSize:
            m_value = weightBytesOf(before);
            break;
        case Target::Memory:
            m_value =
                weightBytesOf(before) + m_scores.kvBytesPerToken * static_cast<double>(m_context);
            break;
        case Target::Speed:
            m_value = tokensPerSecondOf(before);
            break;
    }
    updateRange(std::isfinite(m_value));
}

void AllocationModel::setContext(std::int64_t tokens) {
    if (tokens == m_context)
        return;
    m_context = tokens;
    m_target == Target::Memory ? updateRange() : emit changed();
}

void AllocationModel::setValue(double value) {
    if (value == m_value || !std::isfinite(value))
        return;
    m_value = value;
    solve();
}

void AllocationModel::pin(std::size_t unit, int choice) {
    if (m_scores.units[unit].pinned == choice)
        return;
    m_scores.units[unit].pinned = choice;
    if (!problem(m_target).isEmpty()) {
        m_target = Target::Bits;
        m_value = bits();
    }
    updateRange();
}

void AllocationModel::unpinAll() {
    for (AllocationUnit& unit : m_scores.units)
        unit.pinned = -1;
    updateRange();
}

std::size_t AllocationModel::pinnedCount() const {
    return static_cast<std::size_t>(
        std::count_if(m_scores.units.begin(), m_scores.units.end(),
                      [](const AllocationUnit& unit) { return unit.pinned >= 0; }));
}

void AllocationModel::updateRange(bool keep) {
    m_front.clear();
    m_range = {};
    if (!m_scores.empty()) {
        m_front = allocationFront(m_scores.units);
        const BitAllocation& small = m_front.front();
        const BitAllocation& large = m_front.back();
        const double cache = m_scores.kvBytesPerToken * static_cast<double>(m_context);
        std::vector<std::vector<std::size_t>> kept;
        switch (m_target) {
            case Target::Bits:
                m_range = {bitsOf(small), bitsOf(large)};
                break;
            case Target::FileSize:
                m_range = {weightBytesOf(small), weightBytesOf(large)};
                break;
            case Target::Memory:
                m_range = {weightBytesOf(small) + cache, weightBytesOf(large) + cache};
                break;
            case Target::Speed: {
                const std::vector<AllocationUnit> timed = timedUnits(kept);
                m_range = {1 / allocateBits(timed, kEverything).bytes,
                           1 / allocateBits(timed, 0).bytes};
                break;
            }
        }
        // Four bits where there is no wish yet: what people begin with.
        if (!std::isfinite(m_value))
            m_value = m_target == Target::Bits ? std::clamp(4.0, m_range.low, m_range.high)
                                               : m_range.low + (m_range.high - m_range.low) / 3;
    }
    emit rangeChanged();
    keep ? emit changed() : solve();
}

void AllocationModel::solve() {
    if (m_scores.empty()) {
        m_allocation = {};
        emit changed();
        return;
    }
    QElapsedTimer timer;
    timer.start();
    const double other = m_scores.otherBytes.value_or(0);
    const double cache = m_scores.kvBytesPerToken * static_cast<double>(m_context);
    switch (m_target) {
        case Target::Bits:
            m_allocation = allocateBits(m_scores.units, m_value / 8 * m_scores.weights);
            break;
        case Target::FileSize:
            m_allocation = allocateBits(m_scores.units, m_value - other);
            break;
        case Target::Memory:
            m_allocation = allocateBits(m_scores.units, m_value - other - cache);
            break;
        case Target::Speed: {
            std::vector<std::vector<std::size_t>> kept;
            const std::vector<AllocationUnit> timed = timedUnits(kept);
            BitAllocation found = allocateBits(timed, m_value > 0 ? 1 / m_value : kEverything);
            const bool within = found.withinBudget;
            for (std::size_t u = 0; u < found.chosen.size(); ++u)
                found.chosen[u] = kept[u][found.chosen[u]];
            m_allocation = allocationOf(m_scores.units, std::move(found.chosen));
            m_allocation.withinBudget = within;
            break;
        }
    }
    m_within = m_allocation.withinBudget;
    m_solveMs = static_cast<double>(timer.nsecsElapsed()) / 1e6;
    emit changed();
}

double AllocationModel::bitsOf(const BitAllocation& allocation) const {
    return m_scores.weights > 0 ? allocation.bytes * 8 / m_scores.weights : kNaN;
}

double AllocationModel::choiceBits(std::size_t unit, std::size_t choice) const {
    const double weights = shareOf(unit) * m_scores.weights;
    return weights > 0 ? m_scores.units[unit].choices[choice].bytes * 8 / weights : kNaN;
}

double AllocationModel::weightBytesOf(const BitAllocation& allocation) const {
    return m_scores.otherBytes ? *m_scores.otherBytes + allocation.bytes : kNaN;
}

double AllocationModel::memoryBytes() const {
    return weightBytes() + m_scores.kvBytesPerToken * static_cast<double>(m_context);
}

double AllocationModel::tokensPerSecondOf(const BitAllocation& allocation) const {
    double seconds = 0;
    for (std::size_t u = 0; u < allocation.chosen.size(); ++u) {
        const auto measured =
            m_scores.secondsPerToken.find(m_scores.units[u].choices[allocation.chosen[u]].scheme);
        if (measured == m_scores.secondsPerToken.end())
            return kNaN;
        seconds += measured->second * shareOf(u);
    }
    return seconds > 0 ? 1 / seconds : kNaN;
}

QStringList AllocationModel::unmeasured() const {
    QStringList names;
    for (std::size_t u = 0; u < m_allocation.chosen.size(); ++u) {
        const std::string& scheme = m_scores.units[u].choices[m_allocation.chosen[u]].scheme;
        const QString name = QString::fromStdString(scheme);
        if (!m_scores.secondsPerToken.contains(scheme) && !names.contains(name))
            names << name;
    }
    return names;
}

Recipe AllocationModel::recipe() const {
    Recipe recipe;
    recipe.name = tr("Mixed, %1 bits").arg(bits(), 0, 'f', 2).toStdString();
    RecipeStep step = m_scores.step;
    for (const char* name : {"target_bits", "sensitivity", "mix", "scheme"})
        step.params.erase(name);
    step.params["schemes"] = schemeAssignments(m_scores.units, m_allocation);
    recipe.steps.push_back(std::move(step));
    return recipe;
}

}  // namespace fettle::ui
