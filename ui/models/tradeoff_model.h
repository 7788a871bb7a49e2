// What a trade-off chart draws: experiments as points in two metrics, their Pareto front and what
// had to be left out. Numbers of different measuring protocols never meet in one result. Values
// only; computed in one pass.
#pragma once

#include <QHash>
#include <QString>
#include <QStringList>
#include <span>
#include <vector>

#include "engine/experiment/experiment_record.h"
#include "ui/models/metric_protocols.h"

namespace fettle::ui {

/// How the numbers of a point were come by; drawn filled, hollow and hatched.
enum class PointKind { Native, Dequantized, Estimated };

struct TradeoffPoint {
    qint64 id = 0;
    double x = 0;
    double y = 0;
    double xLow = 0, xHigh = 0;  ///< 95% interval; both equal x where none was computed
    double yLow = 0, yHigh = 0;
    float size = -1;  ///< place of the third metric in its range, 0..1; negative: has none
    float color = -1;
    QString technique;  ///< "" for a baseline
    QString name;
    PointKind kind = PointKind::Native;
    bool baseline = false;
    bool onFront = false;
    double third = 0;  ///< of the front's third metric; NaN where it has none, or not natively

    bool hasInterval() const { return xLow < xHigh || yLow < yHigh; }
};

struct TradeoffQuery {
    QString x = QStringLiteral("decode_tokens_per_s");
    QString y = QStringLiteral("perplexity");
    QString size;   ///< metric id or empty
    QString color;  ///< metric id; empty: by technique
    QString third;  ///< metric that counts for the front as well; empty: x and y alone
    /// Protocol to draw per metric; a metric left out takes its most common protocol.
    QHash<QString, QString> protocols;

    bool operator==(const TradeoffQuery&) const = default;
};

struct TradeoffData {
    TradeoffQuery query;
    BetterWhen xBetter = BetterWhen::Neither;
    BetterWhen yBetter = BetterWhen::Neither;
    std::vector<TradeoffPoint> points;  ///< painting order: front and baselines last
    std::vector<std::size_t> front;     ///< indices of points, sorted by x
    BetterWhen thirdBetter = BetterWhen::Neither;
    QStringList techniques;  ///< those present, "" (baseline) first
    double sizeLow = 0, sizeHigh = 0;
    double colorLow = 0, colorHigh = 0;
    std::vector<ProtocolCount> xProtocols;  ///< most common first; among finished experiments
    std::vector<ProtocolCount> yProtocols;
    QString xProtocol;  ///< the one drawn
    QString yProtocol;
    int otherProtocol = 0;  ///< left out for their protocol
    int missingMetric = 0;
    int unfinished = 0;
};

/// The front is drawn through measured, native points only: a number taken through dequantization
/// cannot win.
TradeoffData buildTradeoff(std::span<const ExperimentRecord* const> records,
                           const TradeoffQuery& query);
TradeoffData buildTradeoff(const std::vector<ExperimentRecord>& records,
                           const TradeoffQuery& query);

/// One line per point: id, name, technique, both metrics with their intervals in full precision,
/// whether it is native, and whether it is on the front.
QString tradeoffCsv(const TradeoffData& data);

}  // namespace fettle::ui
