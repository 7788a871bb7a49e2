#include "ui/models/metric_protocols.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

namespace fettle::ui {

MetricColumns::MetricColumns(std::span<const ExperimentRecord* const> records,
                             const std::vector<std::string>& metrics)
    : m_columns(metrics.size()), m_values(records.size() * metrics.size(), nullptr) {
    std::vector<std::size_t> order(metrics.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::sort(order, {}, [&](std::size_t column) { return metrics[column]; });
    for (std::size_t i = 0; i < records.size(); ++i) {
        if (records[i]->status != ExperimentStatus::Finished) {
            continue;
        }
        // Both are in the order of their names: one step through the record finds them all.
        auto wanted = order.begin();
        for (const auto& [name, value] : records[i]->metrics) {
            while (wanted != order.end() && metrics[*wanted] < name) {
                ++wanted;
            }
            if (wanted == order.end()) {
                break;
            }
            for (; wanted != order.end() && metrics[*wanted] == name; ++wanted) {
                if (std::isfinite(value.value)) {
                    m_values[i * m_columns + *wanted] = &value;
                }
            }
        }
    }
}

std::vector<ProtocolCount> MetricColumns::protocols(std::size_t column) const {
    std::map<std::string, int> counts;
    int* last = nullptr;  // neighbours mostly share theirs
    const std::string* lastName = nullptr;
    for (std::size_t i = column; i < m_values.size(); i += m_columns) {
        if (const Measurement* value = m_values[i]) {
            if (!last || *lastName != value->protocol) {
                const auto place = counts.try_emplace(value->protocol, 0).first;
                lastName = &place->first;
                last = &place->second;
            }
            ++*last;
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
