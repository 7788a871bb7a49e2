// Numbers of different measuring protocols never meet in one chart: which protocols a metric was
// taken with, and which of them is drawn. Values only.
#pragma once

#include <QHash>
#include <QString>
#include <span>
#include <string>
#include <vector>

#include "engine/experiment/experiment_record.h"

namespace fettle::ui {

struct ProtocolCount {
    QString protocol;
    int count = 0;
};

/// Chosen metrics of many records, looked up in one walk over them: the measurements where they are
/// there, finite and of a finished experiment. Borrows from the records.
class MetricColumns {
public:
    /// An empty id is a column without values.
    MetricColumns(std::span<const ExperimentRecord* const> records,
                  const std::vector<std::string>& metrics);

    const Measurement* at(std::size_t record, std::size_t column) const {
        return m_values[record * m_columns + column];
    }
    /// Protocols of a column, the most common first.
    std::vector<ProtocolCount> protocols(std::size_t column) const;

private:
    std::size_t m_columns;
    std::vector<const Measurement*> m_values;
};

/// The wished protocol of `metric` where it is among `protocols`, else the most common.
QString chooseProtocol(const std::vector<ProtocolCount>& protocols,
                       const QHash<QString, QString>& wished, const QString& metric);

}  // namespace fettle::ui
