// The Pareto front in any number of metrics.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "engine/experiment/experiment_record.h"

namespace fettle {

struct FrontMetric {
    std::string name;
    BetterWhen better = BetterWhen::Lower;  ///< Neither is taken as Lower
};

/// Indices of the records that no other beats in all of `metrics`, ascending: a record is beaten by
/// one that is at least as good in each and better in one. Equal ones stand beside each other;
/// records that lack a metric, or whose value is not a finite number, are left out.
std::vector<std::size_t> paretoFront(const std::vector<ExperimentRecord>& records,
                                     const std::vector<FrontMetric>& metrics);

/// The same for plain numbers: `costs` holds rows of `metrics` values, each turned so that smaller
/// is better; rows with a value that is not finite are left out.
std::vector<std::size_t> paretoFront(std::span<const double> costs, std::size_t metrics);

}  // namespace fettle
