#include "engine/experiment/evaluation_trace.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

namespace fettle {
namespace {

using nlohmann::json;

/// JSON has no infinities: what is not finite becomes null and comes back as "not a number".
json finite(double value) {
    return std::isfinite(value) ? json(value) : json(nullptr);
}

json rounded(double value) {
    std::array<char, 32> buffer{};
    const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value,
                                   std::chars_format::general, 4);
    double result = value;
    std::from_chars(buffer.data(), end.ptr, result);
    return finite(result);
}

double numberFrom(const json& value) {
    return value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
}

template <typename T, typename Field>
json column(const std::vector<T>& items, Field field) {
    json values = json::array();
    for (const T& item : items)
        values.push_back(field(item));
    return values;
}

std::size_t shortest(const json& table, std::initializer_list<const char*> columns) {
    std::size_t length = std::numeric_limits<std::size_t>::max();
    for (const char* name : columns)
        length = std::min(length, table.contains(name) ? table[name].size() : 0);
    return length;
}

json blocksJson(const std::vector<TraceBlock>& blocks) {
    return {{"tokens", column(blocks, [](const TraceBlock& b) { return json(b.tokens); })},
            {"nll", column(blocks, [](const TraceBlock& b) { return finite(b.nll); })},
            {"kl", column(blocks, [](const TraceBlock& b) { return finite(b.kl); })},
            {"same_top", column(blocks, [](const TraceBlock& b) { return finite(b.sameTop); })}};
}

std::vector<TraceBlock> blocksFrom(const json& table) {
    std::vector<TraceBlock> blocks(shortest(table, {"tokens", "nll", "kl", "same_top"}));
    for (std::size_t i = 0; i < blocks.size(); ++i)
        blocks[i] = {table["tokens"][i].get<std::int64_t>(), numberFrom(table["nll"][i]),
                     numberFrom(table["kl"][i]), numberFrom(table["same_top"][i])};
    return blocks;
}

// Tokens that were not scored have null for their loss.
json tokensJson(const EvaluationTrace& trace) {
    const auto value = [&](double TraceToken::*field) {
        return column(trace.tokens, [field](const TraceToken& token) {
            return token.scored ? rounded(token.*field) : json(nullptr);
        });
    };
    json table{{"text", column(trace.tokens, [](const TraceToken& t) { return json(t.text); })},
               {"nll", value(&TraceToken::nll)}};
    if (trace.hasBaseline) {
        table["baseline_nll"] = value(&TraceToken::baselineNll);
        table["kl"] = value(&TraceToken::kl);
    }
    return table;
}

std::vector<TraceToken> tokensFrom(const json& table) {
    std::vector<TraceToken> tokens(shortest(table, {"text", "nll"}));
    const bool baseline = shortest(table, {"baseline_nll", "kl"}) >= tokens.size();
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        tokens[i].text = table["text"][i].get<std::string>();
        tokens[i].scored = !table["nll"][i].is_null();
        if (!tokens[i].scored)
            continue;
        tokens[i].nll = numberFrom(table["nll"][i]);
        if (baseline) {
            tokens[i].baselineNll = numberFrom(table["baseline_nll"][i]);
            tokens[i].kl = numberFrom(table["kl"][i]);
        }
    }
    return tokens;
}

json worstJson(const WorstToken& token) {
    return {{"position", token.position},
            {"before", token.before},
            {"text", token.text},
            {"kl", rounded(token.kl)},
            {"p", rounded(token.probability)},
            {"baseline_p", rounded(token.baselineProbability)},
            {"top", token.top},
            {"top_p", rounded(token.topProbability)},
            {"baseline_top", token.baselineTop},
            {"baseline_top_p", rounded(token.baselineTopProbability)}};
}

WorstToken worstFrom(const json& value) {
    return {value.value("position", std::int64_t{0}),
            value.value("before", ""),
            value.value("text", ""),
            numberFrom(value.value("kl", json())),
            numberFrom(value.value("p", json())),
            numberFrom(value.value("baseline_p", json())),
            value.value("top", ""),
            numberFrom(value.value("top_p", json())),
            value.value("baseline_top", ""),
            numberFrom(value.value("baseline_top_p", json()))};
}

}  // namespace

json toJson(const EvaluationTrace& trace) {
    json value = json::object();
    if (!trace.blocks.empty()) {
        value["protocol"] = trace.protocol;
        value["baseline"] = trace.hasBaseline;
        value["blocks"] = blocksJson(trace.blocks);
        value["tokens"] = tokensJson(trace);
        value["worst"] = column(trace.worst, worstJson);
    }
    if (!trace.tasksCorrect.empty()) {
        std::string correct;
        for (const char one : trace.tasksCorrect)
            correct += one ? '1' : '0';
        value["tasks"] = {{"protocol", trace.tasksProtocol}, {"correct", correct}};
    }
    return value;
}

EvaluationTrace evaluationTraceFromJson(const json& value) {
    EvaluationTrace trace;
    trace.protocol = value.value("protocol", "");
    trace.hasBaseline = value.value("baseline", false);
    trace.blocks = blocksFrom(value.value("blocks", json::object()));
    trace.tokens = tokensFrom(value.value("tokens", json::object()));
    for (const json& item : value.value("worst", json::array()))
        trace.worst.push_back(worstFrom(item));
    const json tasks = value.value("tasks", json::object());
    trace.tasksProtocol = tasks.value("protocol", "");
    for (const char one : tasks.value("correct", ""))
        trace.tasksCorrect.push_back(one == '1');
    return trace;
}

}  // namespace fettle
