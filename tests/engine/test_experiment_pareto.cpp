// The Pareto front against its definition, point by point.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <random>

#include "engine/experiment/pareto_front.h"

namespace fettle {
namespace {

ExperimentRecord point(double x, double y) {
    ExperimentRecord record;
    record.metrics["x"] = {"x", x, "", {}, {}, true, false, ""};
    record.metrics["y"] = {"y", y, "", {}, {}, true, false, ""};
    return record;
}

bool atLeastAsGood(double a, double b, BetterWhen better) {
    return better == BetterWhen::Higher ? a >= b : a <= b;
}

std::vector<std::size_t> byDefinition(const std::vector<ExperimentRecord>& records,
                                      BetterWhen xBetter, BetterWhen yBetter) {
    const auto value = [&](std::size_t i, const char* name) {
        const auto found = records[i].metrics.find(name);
        return found == records[i].metrics.end() ? std::numeric_limits<double>::quiet_NaN()
                                                 : found->second.value;
    };
    const auto usable = [&](std::size_t i) {
        return std::isfinite(value(i, "x")) && std::isfinite(value(i, "y"));
    };
    std::vector<std::size_t> front;
    for (std::size_t i = 0; i < records.size(); ++i) {
        if (!usable(i))
            continue;
        bool beaten = false;
        for (std::size_t j = 0; j < records.size() && !beaten; ++j) {
            beaten = usable(j) && atLeastAsGood(value(j, "x"), value(i, "x"), xBetter) &&
                     atLeastAsGood(value(j, "y"), value(i, "y"), yBetter) &&
                     (value(j, "x") != value(i, "x") || value(j, "y") != value(i, "y"));
        }
        if (!beaten)
            front.push_back(i);
    }
    std::stable_sort(front.begin(), front.end(),
                     [&](std::size_t a, std::size_t b) { return value(a, "x") < value(b, "x"); });
    return front;
}

TEST(ParetoFront, SmallCases) {
    constexpr auto lower = BetterWhen::Lower;
    const auto front = [&](const std::vector<ExperimentRecord>& records) {
        return paretoFront(records, "x", lower, "y", lower);
    };
    using Indices = std::vector<std::size_t>;
    EXPECT_EQ(front({}), Indices{});
    EXPECT_EQ(front({point(1, 1)}), Indices{0});
    EXPECT_EQ(front({point(1, 1), point(1, 1)}), (Indices{0, 1}));
    EXPECT_EQ(front({point(1, 2), point(1, 1), point(2, 1)}), Indices{1});
    EXPECT_EQ(front({point(3, 1), point(1, 3), point(2, 2), point(2, 3)}), (Indices{1, 2, 0}));
    EXPECT_EQ(front({point(std::nan(""), 0), point(0, std::numeric_limits<double>::infinity()),
                     point(5, 5), ExperimentRecord{}}),
              Indices{2});
    EXPECT_EQ(front({point(0.0, 1), point(-0.0, 1)}), (Indices{0, 1}));
}

TEST(ParetoFront, MatchesTheDefinitionOnRandomData) {
    std::mt19937 random(1);
    const BetterWhen directions[] = {BetterWhen::Lower, BetterWhen::Higher, BetterWhen::Neither};
    for (int round = 0; round < 300; ++round) {
        const int count = std::uniform_int_distribution<int>(0, 60)(random);
        const int grid = std::uniform_int_distribution<int>(
            1, 30)(random);  // few values: many ties and duplicates
        std::vector<ExperimentRecord> records;
        for (int i = 0; i < count; ++i) {
            records.push_back(point(std::uniform_int_distribution<int>(0, grid)(random),
                                    std::uniform_int_distribution<int>(0, grid)(random)));
            switch (std::uniform_int_distribution<int>(0, 20)(random)) {
                case 0:
                    records.back().metrics["x"].value = std::nan("");
                    break;
                case 1:
                    records.back().metrics.erase("y");
                    break;
                case 2:
                    records.back().metrics["y"].value = -std::numeric_limits<double>::infinity();
                    break;
                default:
                    break;
            }
        }
        for (const BetterWhen xBetter : directions) {
            for (const BetterWhen yBetter : directions)
                EXPECT_EQ(paretoFront(records, "x", xBetter, "y", yBetter),
                          byDefinition(records, xBetter, yBetter))
                    << "round " << round;
        }
    }
}

TEST(ParetoFront, IsQuickWithManyPoints) {
    std::mt19937 random(1);
    std::uniform_real_distribution<double> uniform(0, 1);
    std::vector<ExperimentRecord> records;
    for (int i = 0; i < 100'000; ++i) {
        const double x = uniform(random);
        records.push_back(point(x, 1 - x));  // every point stands on the front: the worst case
    }
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(paretoFront(records, "x", BetterWhen::Higher, "y", BetterWhen::Higher).size(),
              records.size());
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST(ParetoFront, AnyNumberOfMetricsAgreesWithItsDefinition) {
    std::mt19937 rng(5);
    for (int round = 0; round < 40; ++round) {
        std::vector<ExperimentRecord> records;
        for (int i = 0; i < 60; ++i) {
            records.push_back(
                point(static_cast<double>(rng() % 6), static_cast<double>(rng() % 6)));
            if (rng() % 10 != 0)
                records.back().metrics["z"].value = static_cast<double>(rng() % 6);
        }
        const std::vector<FrontMetric> metrics{
            {"x", BetterWhen::Lower}, {"y", BetterWhen::Higher}, {"z", BetterWhen::Lower}};
        std::vector<std::size_t> expected;
        for (std::size_t i = 0; i < records.size(); ++i) {
            const auto value = [&](std::size_t r, std::size_t m) {
                const auto found = records[r].metrics.find(metrics[m].name);
                return found == records[r].metrics.end() ? std::numeric_limits<double>::quiet_NaN()
                                                         : found->second.value;
            };
            bool beaten = std::isnan(value(i, 2));
            for (std::size_t j = 0; j < records.size() && !beaten; ++j) {
                bool asGood = !std::isnan(value(j, 2)), better = false;
                for (std::size_t m = 0; m < 3; ++m) {
                    asGood = asGood && atLeastAsGood(value(j, m), value(i, m), metrics[m].better);
                    better = better || value(j, m) != value(i, m);
                }
                beaten = asGood && better;
            }
            if (!beaten)
                expected.push_back(i);
        }
        EXPECT_EQ(paretoFront(records, metrics), expected);
    }
    EXPECT_TRUE(paretoFront({point(1, 2)}, std::vector<FrontMetric>{}).empty());
    EXPECT_EQ(paretoFront({point(2, 1), point(1, 2), point(2, 2)},
                          {{"x", BetterWhen::Lower}, {"y", BetterWhen::Lower}}),
              (std::vector<std::size_t>{0, 1}));
}

}  // namespace
}  // namespace fettle
