#include "engine/quant/gptq_refine.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "engine/quant/panel_grids.h"
#include "kernels/ops/code_panel.h"

namespace fettle {

namespace {

using kernels::kCodeRows;

constexpr std::int64_t kBlock = 128;
constexpr std::int64_t kRidgeColumns = 512;  // of the gram that a cancelled run may still multiply

/// One panel of rows; all matrices are [cols, kCodeRows].
class Descent {
public:
    Descent(const RefineTarget& target, const GroupQuantizer& quantizer, std::int64_t first,
            RunControl& control)
        : m_t(target),
          m_quantizer(quantizer),
          m_control(control),
          m_first(first),
          m_rows(std::min(kCodeRows, target.rows - first)),
          m_group(quantizer.groupSize(target.cols)),
          m_groups(target.cols / m_group),
          // Whole groups to a block, so that a scale is changed within one.
          m_block(m_group <= kBlock ? kBlock / m_group * m_group : kBlock),
          m_grids(target.grids, target.rows, m_groups, first),
          m_rest(size(target.cols)),
          m_codes(size(target.cols)),
          m_gradient(size(target.cols)),
          m_changes(size(m_block)),
          m_products(size(m_block)) {
        kernels::toPanel(target.weights + first * target.cols, target.cols, m_rows, target.cols,
                         m_rest.data());
        kernels::toPanel(target.codes + first * target.cols, target.cols, m_rows, target.cols,
                         m_codes.data());
    }

    /// tr(R H R^T) of the panel afterwards.
    double run(int passes) {
        for (std::int64_t j = 0; j < m_t.cols; ++j)
            for (std::int64_t r = 0; r < kCodeRows; ++r)
                rest(j, r) -= value(j, r);
        startGradient();
        for (int pass = 0; pass < passes; ++pass)
            for (std::int64_t b = 0; b < m_t.cols; b += m_block) {
                if (m_control.cancelled())
                    return 0;
                improveBlock(b, std::min(m_block, m_t.cols - b));
            }
        kernels::fromPanel(m_codes.data(), m_rows, m_t.cols, m_t.codes + m_first * m_t.cols,
                           m_t.cols);
        for (std::int64_t r = 0; r < m_rows; ++r)
            for (std::int64_t g = 0; g < m_groups; ++g)
                m_t.grids[(m_first + r) * m_groups + g].scale =
                    m_grids.scales[static_cast<std::size_t>(g * kCodeRows + r)];
        double loss = 0;
        for (std::int64_t j = 0; j < m_t.cols; ++j)
            for (std::int64_t r = 0; r < m_rows; ++r)
                loss += static_cast<double>(rest(j, r)) * m_gradient[at(j, r)];
        return loss;
    }

private:
    static std::size_t size(std::int64_t cols) {
        return static_cast<std::size_t>(cols * kCodeRows);
    }
    static std::size_t at(std::int64_t j, std::int64_t r) {
        return static_cast<std::size_t>(j * kCodeRows + r);
    }
    float& rest(std::int64_t j, std::int64_t r) { return m_rest[at(j, r)]; }
    float value(std::int64_t j, std::int64_t r) const {
        return m_codes[at(j, r)] * m_grids.scales[at(j / m_group, r)];
    }

    /// G = R (H + ridge).
    void startGradient() {
        for (std::int64_t j = 0; j < m_t.cols && !m_control.cancelled(); j += kRidgeColumns)
            kernels::panelProduct({std::min(kRidgeColumns, m_t.cols - j), m_t.cols,
                                   m_t.gram + j * m_t.cols, m_t.cols, 1, m_rest.data(),
                                   m_gradient.data() + at(j, 0), false});
        for (std::size_t i = 0; i < m_gradient.size(); ++i)
            m_gradient[i] += m_t.ridge * m_rest[i];
    }

    void improveBlock(std::int64_t b, std::int64_t width) {
        for (std::int64_t j = 0; j < width; ++j)
            for (std::int64_t r = 0; r < kCodeRows; ++r)
                m_changes[at(j, r)] = value(b + j, r);
        if (m_group <= kBlock && !m_t.fixedScales)
            for (std::int64_t g = b; g < b + width; g += m_group)
                improveScales(b, width, g);
        kernels::PanelDescent descent;
        descent.rule = m_quantizer.rule();
        descent.width = width;
        descent.group = m_group;
        descent.firstColumn = b;
        descent.gram = m_t.gram + b * m_t.cols + b;
        descent.gramStride = m_t.cols;
        descent.ridge = m_t.ridge;
        descent.scales = m_grids.scales.data();
        descent.shifts = m_grids.shifts.data();
        descent.codes = m_codes.data() + at(b, 0);
        descent.gradient = m_gradient.data() + at(b, 0);
        kernels::improveCodes(descent);
        for (std::int64_t j = 0; j < width; ++j)
            for (std::int64_t r = 0; r < kCodeRows; ++r) {
                float& change = m_changes[at(j, r)];  // of R
                change -= value(b + j, r);
                rest(b + j, r) += change;
            }
        // The gradient of these columns has followed already.
        follow(0, b, b, width);
        follow(b + width, m_t.cols, b, width);
    }

    /// Gradient of columns [from, to) after the changes of block [b, b + width).
    void follow(std::int64_t from, std::int64_t to, std::int64_t b, std::int64_t width) {
        kernels::panelProduct({to - from, width, m_t.gram + from * m_t.cols + b, m_t.cols, 1,
                               m_changes.data(), m_gradient.data() + at(from, 0), true});
    }

    /// The scales of columns [g, g + group) of block [b, b + width): codes q turn the error into
    /// e - 2 d (q G) + d^2 (q H q) when a scale grows by d.
    void improveScales(std::int64_t b, std::int64_t width, std::int64_t g) {
        // q H, columns of the block
        kernels::panelProduct({width, m_group, m_t.gram + b * m_t.cols + g, m_t.cols, 1,
                               m_codes.data() + at(g, 0), m_products.data(), false});
        std::array<float, static_cast<std::size_t>(kCodeRows)> slope{}, curve{}, step{};
        for (std::int64_t j = g; j < g + m_group; ++j)
            for (std::int64_t r = 0; r < kCodeRows; ++r) {
                const float q = m_codes[at(j, r)];
                float& product = m_products[at(j - b, r)];
                product += m_t.ridge * q;
                slope[static_cast<std::size_t>(r)] += q * m_gradient[at(j, r)];
                curve[static_cast<std::size_t>(r)] += q * product;
            }
        bool any = false;
        for (std::size_t r = 0; r < step.size(); ++r) {
            float& scale = m_grids.scales[at(g / m_group, 0) + r];
            if (!(curve[r] > 0))
                continue;
            const float wanted = m_quantizer.storedScale(scale + slope[r] / curve[r]);
            const float d = wanted - scale;
            if (!(wanted > 0) || d * (d * curve[r] - 2 * slope[r]) >= 0)
                continue;
            step[r] = d;
            scale = wanted;
            any = true;
        }
        for (std::int64_t i = 0; any && i < width; ++i)
            for (std::int64_t r = 0; r < kCodeRows; ++r)
                m_gradient[at(b + i, r)] -=
                    step[static_cast<std::size_t>(r)] * m_products[at(i, r)];
    }

    const RefineTarget& m_t;
    const GroupQuantizer& m_quantizer;
    RunControl& m_control;
    std::int64_t m_first, m_rows, m_group, m_groups, m_block;
    PanelGrids m_grids;
    std::vector<float> m_rest;  // R = W - W^
    std::vector<float> m_codes, m_gradient;
    std::vector<float> m_changes;   // [block, kCodeRows] of R
    std::vector<float> m_products;  // likewise
};

}  // namespace

double refineCodes(const RefineTarget& target, const GroupQuantizer& quantizer, int passes,
                   kernels::WorkerPool& pool, RunControl& control) {
    std::vector<double> losses(static_cast<std::size_t>((target.rows + kCodeRows - 1) / kCodeRows));
    eachPanel(0, target.rows, pool, control, [&](std::int64_t first, std::int64_t /*rows*/) {
        losses[static_cast<std::size_t>(first / kCodeRows)] =
            Descent(target, quantizer, first, control).run(passes);
    });
    control.check();
    return std::accumulate(losses.begin(), losses.end(), 0.0);
}

}  // namespace fettle
