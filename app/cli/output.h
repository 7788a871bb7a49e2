// What commands print: JSON documents and tables on standard output, errors on standard error.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/experiment/measurement.h"

namespace fettle::cli {

/// The one JSON document of a command. Text that is not UTF-8 keeps its readable part.
void printJson(const nlohmann::json& document);
std::string jsonText(const nlohmann::json& document, int indent = 2);
/// One line "fettle-cli: message" on standard error, whatever the message holds.
void printError(const std::string& message);

/// Columns padded to their widest cell; the first is left-aligned, the others right-aligned.
void printTable(const std::vector<std::string>& head,
                const std::vector<std::vector<std::string>>& rows);
/// "name: value" lines with the values aligned.
void printFields(const std::vector<std::pair<std::string, std::string>>& fields);

/// {"perplexity": 7.2, ...}: values under their ids; numbers that are none become null.
nlohmann::json metricValues(const std::vector<Measurement>& metrics);
/// Everything known about each: value, unit, low, high, native, estimated, protocol.
nlohmann::json metricDetails(const std::vector<Measurement>& metrics);
/// "7.21 (7.02 to 7.40)", marked where dequantized or estimated.
std::string metricText(const Measurement& metric);
void printMetrics(const std::vector<Measurement>& metrics);
/// "+2.1%" of `value` against `base`; empty where that says nothing.
std::string changeText(double value, double base);

}  // namespace fettle::cli
