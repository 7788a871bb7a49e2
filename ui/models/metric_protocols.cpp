#include "ui/models/metric_protocols.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace fettle::ui {

const Measurement* finiteMetric(const ExperimentRecord& record, const std::string& metric) {
    const auto found = record.metrics.find(metric);
    return found != record.metrics.end() && std::isfinite(found->second.value) ? &found->second
                                                                               : nullptr;
}

std::vector<ProtocolCount> countProtocols(std::span<const ExperimentRecord* const> records,
                                          const std::string& metric) {
    std::map<std::string, int> counts;
    for (const ExperimentRecord* record : records) {
        if (record->status == ExperimentStatus::Finished) {
            if (const Measurement* value = finiteMetric(*record, metric)) {
                ++counts[value->protocol];
            }
        }
    }
    std::vector<ProtocolCount> result;
    for (const auto& [protocol, count] : counts) {
        result.push_back({QString::fromStdString(protocol), count});
    }
    std::stable_sort(result.begin(), result.end(),
                     [](const auto& a, const auto& b) { return a.count > b.count; });
    return result;
}

QString chooseProtocol(const std::vector<ProtocolCount>& protocols,
                       const QHash<QString, QString>& wished, const QString& metric) {
    const auto found = wished.find(metric);
    for (const ProtocolCount& entry : protocols) {
        if (found != wished.end() && entry.protocol == *found) {
            return entry.protocol;
        }
    }
    return protocols.empty() ? QString() : protocols.front().protocol;
}

}  // namespace fettle::ui
