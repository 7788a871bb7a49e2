// Numbers of different measuring protocols never meet in one chart: which protocols a metric was
// taken with, and which of them is drawn. Values only.
#pragma once

#include <QHash>
#include <QString>
#include <span>
#include <vector>

#include "engine/experiment/experiment_record.h"

namespace fettle::ui {

struct ProtocolCount {
    QString protocol;
    int count = 0;
};

/// The measurement, where there is one and it is a finite number; borrowed from the record.
const Measurement* finiteMetric(const ExperimentRecord& record, const std::string& metric);
/// Protocols of a metric among finished experiments, the most common first.
std::vector<ProtocolCount> countProtocols(std::span<const ExperimentRecord* const> records,
                                          const std::string& metric);
/// The wished protocol of `metric` where it is among `protocols`, else the most common.
QString chooseProtocol(const std::vector<ProtocolCount>& protocols,
                       const QHash<QString, QString>& wished, const QString& metric);

}  // namespace fettle::ui
