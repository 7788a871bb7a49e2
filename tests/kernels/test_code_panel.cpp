// Choosing codes by panels of rows: products and triangles against plain loops, codes against the
// nearest of the grid, coordinate descent by what it promises.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/ops/code_panel.h"
#include "kernels/reference/fake_quant.h"
#include "tests/kernels/kernel_data.h"

namespace fettle::kernels {
namespace {

using Floats = std::vector<float>;
using Kind = CodeRule::Kind;

std::size_t at(std::int64_t column, std::int64_t row) {
    return static_cast<std::size_t>(column * kCodeRows + row);
}

struct RuleCase {
    const char* name;
    CodeRule rule;
    std::vector<double> codes;
    float shift;
};

RuleCase whole(const char* name, int lowest, int highest, float shift, Kind kind = Kind::Whole) {
    RuleCase c{name, {kind, integerGrid(lowest, highest), {}}, {}, shift};
    for (const double code : reference::integerCodes(lowest, highest))
        c.codes.push_back(code + static_cast<double>(shift));
    return c;
}

std::vector<RuleCase> allRules() {
    std::vector<RuleCase> rules = {
        whole("int8", -127, 127, 0),
        whole("int4", -8, 7, 0),
        whole("int4 with a zero point", -8, 7, 5),
        whole("int2", -2, 1, 0),
        whole("with a minimum", -8, 7, 2.625F, Kind::Shifted),
        {"e4m3", {Kind::Floating, e4m3Grid(), {}}, reference::floatCodes(3, -6, 448), 0},
        {"e2m1", {Kind::Floating, e2m1Grid(), {}}, reference::floatCodes(1, 1, 12), 0},
        {"e2m3", {Kind::Floating, e2m3Grid(), {}}, reference::floatCodes(3, 3, 60), 0}};
    RuleCase table{"table", {Kind::Table, {}, {}}, {}, 0};
    for (int i = 0; i < 16; ++i) {
        table.rule.table[i] = static_cast<float>(std::tanh(0.3 * (i - 7)));
        table.codes.push_back(static_cast<double>(table.rule.table[i]));
    }
    rules.push_back(table);
    return rules;
}

/// [n, n] positive definite.
Floats gramOf(std::int64_t n, unsigned seed) {
    const std::int64_t tokens = 2 * n + 3;
    const Floats x = test::randomFloats(tokens * n, seed, 1);
    Floats gram(static_cast<std::size_t>(n * n));
    for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < n; ++j) {
            double sum = i == j ? 0.1 : 0;
            for (std::int64_t t = 0; t < tokens; ++t)
                sum += static_cast<double>(x[static_cast<std::size_t>(t * n + i)]) *
                       x[static_cast<std::size_t>(t * n + j)] / static_cast<double>(tokens);
            gram[static_cast<std::size_t>(i * n + j)] = static_cast<float>(sum);
        }
    return gram;
}

TEST(CodePanel, TurnsAndTurnsBack) {
    const Floats matrix = test::randomFloats(41 * 150, 1, 1);
    Floats panel(150 * kCodeRows, 9.0F), back(matrix.size());
    toPanel(matrix.data(), 150, 41, 150, panel.data());
    for (std::int64_t j = 0; j < 150; ++j)
        for (std::int64_t r = 0; r < kCodeRows; ++r)
            ASSERT_EQ(panel[at(j, r)],
                      r < 41 ? matrix[static_cast<std::size_t>(r * 150 + j)] : 0.0F);
    fromPanel(panel.data(), 41, 150, back.data(), 150);
    EXPECT_EQ(back, matrix);
}

TEST(CodePanel, ProductsAndTrianglesOnEveryLevel) {
    constexpr std::int64_t n = 37;
    const Floats a = test::randomFloats(n * n, 2, 1), x = test::randomFloats(n * kCodeRows, 3, 1);
    for (const Isa isa : test::availableIsas()) {
        const test::IsaScope scope(isa);
        for (const std::int64_t step : {std::int64_t{1}, n})
            for (const bool accumulate : {false, true}) {
                Floats out(n * kCodeRows, 0.5F);
                panelProduct({n, n - 2, a.data(), step == 1 ? n : 1, step, x.data(), out.data(),
                              accumulate});
                for (std::int64_t i = 0; i < n; ++i)
                    for (std::int64_t r = 0; r < kCodeRows; ++r) {
                        double sum = accumulate ? 0.5 : 0;
                        for (std::int64_t k = 0; k < n - 2; ++k)
                            sum += static_cast<double>(a[static_cast<std::size_t>(
                                       step == 1 ? i * n + k : i + k * n)]) *
                                   x[at(k, r)];
                        ASSERT_NEAR(out[at(i, r)], sum, 1e-5)
                            << step << " " << static_cast<int>(isa);
                    }
            }
        // A lower triangle from its start, and the same as an upper one from its end.
        Floats t = a;
        for (std::int64_t i = 0; i < n; ++i)
            t[static_cast<std::size_t>(i * n + i)] = 8 + static_cast<float>(i % 3);
        const Floats sums = test::randomFloats(n * kCodeRows, 4, 1);
        Floats down = x, up = x;
        panelSolve({n, t.data(), n, 1, down.data(), sums.data()});
        panelSolve({n, t.data() + n * n - 1, -1, -n, up.data() + at(n - 1, 0),
                    sums.data() + at(n - 1, 0), -kCodeRows});
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t r = 0; r < kCodeRows; ++r) {
                double lower = sums[at(i, r)], upper = lower;
                for (std::int64_t k = 0; k <= i; ++k)
                    lower += static_cast<double>(t[static_cast<std::size_t>(i * n + k)]) *
                             down[at(k, r)];
                for (std::int64_t k = i; k < n; ++k)
                    upper +=
                        static_cast<double>(t[static_cast<std::size_t>(k * n + i)]) * up[at(k, r)];
                ASSERT_NEAR(lower, x[at(i, r)], 1e-4) << static_cast<int>(isa);
                ASSERT_NEAR(upper, x[at(i, r)], 1e-4) << static_cast<int>(isa);
            }
    }
}

TEST(CodePanel, TrialsMeasureWhatNearestCodesLose) {
    constexpr std::int64_t n = 19;
    const Floats w = test::randomFloats(n * kCodeRows, 5, 1), h = [] {
        Floats weights = test::randomFloats(n, 6, 1);
        for (float& value : weights)
            value = std::fabs(value);
        return weights;
    }();
    for (const Isa isa : test::availableIsas()) {
        const test::IsaScope scope(isa);
        for (const RuleCase& c : allRules()) {
            if (c.shift != 0)
                continue;
            Floats scales(kCodeRows), error(kCodeRows), wq(kCodeRows), qq(kCodeRows);
            for (std::size_t r = 0; r < scales.size(); ++r)
                scales[r] =
                    static_cast<float>((0.3 + 0.02 * static_cast<double>(r)) / c.codes.back());
            for (const bool weighted : {true, false}) {
                tryScales({c.rule, w.data(), weighted ? h.data() : nullptr, n, scales.data(),
                           error.data(), wq.data(), qq.data()});
                for (std::int64_t r = 0; r < kCodeRows; ++r) {
                    const auto row = static_cast<std::size_t>(r);
                    double e = 0, products = 0, squares = 0;
                    for (std::int64_t j = 0; j < n; ++j) {
                        const double value = w[at(j, r)], scale = scales[row],
                                     weight = weighted ? h[static_cast<std::size_t>(j)] : 1.0F;
                        const double q = reference::nearestCode(c.codes, value / scale);
                        e += weight * (value - q * scale) * (value - q * scale);
                        products += weight * value * q;
                        squares += weight * q * q;
                    }
                    ASSERT_NEAR(error[row], e, 1e-4 * (1 + e)) << c.name;
                    ASSERT_NEAR(wq[row], products, 1e-3 * (1 + std::fabs(products))) << c.name;
                    ASSERT_NEAR(qq[row], squares, 1e-3 * (1 + squares)) << c.name;
                }
            }
        }
    }
}

TEST(CodePanel, SweepPassesErrorsOn) {
    constexpr std::int64_t cols = 24, group = 8, first = 5, width = 13;
    const Floats weights = test::randomFloats(cols * kCodeRows, 7, 1),
                 before = test::randomFloats(width * kCodeRows, 8, 0.1F);
    Floats factor = test::randomFloats(width * width, 9, 0.3F);
    std::vector<std::int64_t> columns;
    for (std::int64_t j = 0; j < width; ++j) {
        columns.push_back((first + 7 * j) % cols);
        factor[static_cast<std::size_t>(j * width + j)] = 1 + 0.1F * static_cast<float>(j);
    }
    for (const Isa isa : test::availableIsas()) {
        const test::IsaScope scope(isa);
        for (const RuleCase& c : allRules()) {
            Floats scales(cols / group * kCodeRows), shifts(scales.size(), c.shift),
                sums = before, codes(weights.size()), errors(width * kCodeRows), losses(kCodeRows);
            for (std::size_t i = 0; i < scales.size(); ++i)
                scales[i] = static_cast<float>((0.5 + 0.003 * static_cast<double>(i)) /
                                               (c.codes.back() - static_cast<double>(c.shift)));
            PanelSweep s;
            s.rule = c.rule;
            s.width = width;
            s.group = group;
            s.columns = columns.data();
            s.factor = factor.data();
            s.factorStride = width;
            s.weights = weights.data();
            s.scales = scales.data();
            s.shifts = shifts.data();
            s.sums = sums.data();
            s.codes = codes.data();
            s.errors = errors.data();
            s.losses = losses.data();
            sweepColumns(s);
            for (std::int64_t r = 0; r < kCodeRows; ++r) {
                double loss = 0;
                for (std::int64_t j = 0; j < width; ++j) {
                    const std::int64_t column = columns[static_cast<std::size_t>(j)];
                    const double w = weights[at(column, r)], scale = scales[at(column / group, r)];
                    double sum = before[at(j, r)];
                    for (std::int64_t i = 0; i < j; ++i)
                        sum +=
                            static_cast<double>(factor[static_cast<std::size_t>(j * width + i)]) *
                            errors[at(i, r)];
                    const double own = factor[static_cast<std::size_t>(j * width + j)],
                                 target = w + sum / own, code = codes[at(column, r)];
                    // Where two codes are as near as rounding errors, either will do.
                    const double nearest = reference::nearestCode(c.codes, target / scale);
                    ASSERT_NEAR(std::fabs(target - code * scale),
                                std::fabs(target - nearest * scale), 2e-6)
                        << c.name << " column " << j;
                    ASSERT_NEAR(errors[at(j, r)], w - code * scale, 1e-6) << c.name;
                    loss += std::pow((target - code * scale) * own, 2);
                }
                ASSERT_NEAR(losses[static_cast<std::size_t>(r)], loss, 1e-4 * (1 + loss)) << c.name;
            }
        }
    }
}

TEST(CodePanel, DescentLowersTheErrorAndKeepsTheGradient) {
    constexpr std::int64_t n = 40, group = 8;
    constexpr float ridge = 0.05F;
    const Floats gram = gramOf(n, 10), w = test::randomFloats(n * kCodeRows, 11, 1);
    for (const Isa isa : test::availableIsas()) {
        const test::IsaScope scope(isa);
        for (const RuleCase& c : allRules()) {
            Floats scales(n / group * kCodeRows), shifts(scales.size(), c.shift), codes(w.size()),
                gradient(w.size());
            for (float& scale : scales)
                scale = static_cast<float>(0.9 / (c.codes.back() - static_cast<double>(c.shift)));
            for (std::int64_t j = 0; j < n; ++j)
                for (std::int64_t r = 0; r < kCodeRows; ++r)
                    codes[at(j, r)] = static_cast<float>(reference::nearestCode(
                        c.codes, static_cast<double>(w[at(j, r)]) / scales[at(j / group, r)]));
            const auto rest = [&](std::int64_t j, std::int64_t r) {
                return static_cast<double>(w[at(j, r)]) -
                       static_cast<double>(codes[at(j, r)]) * scales[at(j / group, r)];
            };
            const auto slope = [&](std::int64_t j, std::int64_t r) {
                double sum = static_cast<double>(ridge) * rest(j, r);
                for (std::int64_t k = 0; k < n; ++k)
                    sum +=
                        static_cast<double>(gram[static_cast<std::size_t>(j * n + k)]) * rest(k, r);
                return sum;
            };
            const auto loss = [&](std::int64_t r) {
                double sum = 0;
                for (std::int64_t j = 0; j < n; ++j)
                    sum += rest(j, r) * slope(j, r);
                return sum;
            };
            std::vector<double> before;
            for (std::int64_t r = 0; r < kCodeRows; ++r)
                before.push_back(loss(r));
            for (std::int64_t j = 0; j < n; ++j)
                for (std::int64_t r = 0; r < kCodeRows; ++r)
                    gradient[at(j, r)] = static_cast<float>(slope(j, r));
            PanelDescent d;
            d.rule = c.rule;
            d.width = n;
            d.group = group;
            d.gram = gram.data();
            d.gramStride = n;
            d.ridge = ridge;
            d.scales = scales.data();
            d.shifts = shifts.data();
            d.codes = codes.data();
            d.gradient = gradient.data();
            improveCodes(d);
            double gained = 0;
            for (std::int64_t r = 0; r < kCodeRows; ++r) {
                const double now = loss(r);
                ASSERT_LE(now, before[static_cast<std::size_t>(r)] + 1e-6) << c.name;
                gained += before[static_cast<std::size_t>(r)] - now;
                for (std::int64_t j = 0; j < n; ++j)
                    ASSERT_NEAR(gradient[at(j, r)], slope(j, r), 2e-5) << c.name;
            }
            EXPECT_GT(gained, 0) << c.name;
        }
    }
}

}  // namespace
}  // namespace fettle::kernels
