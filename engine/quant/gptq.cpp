#include "engine/quant/gptq.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "engine/core/error.h"
#include "engine/quant/cholesky.h"
#include "engine/quant/gptq_refine.h"
#include "engine/quant/panel_grids.h"
#include "engine/quant/rtn.h"
#include "engine/quant/super_blocks.h"
#include "kernels/ops/code_panel.h"
#include "kernels/ops/gemm.h"

namespace fettle {

namespace {

constexpr int kDampingAttempts = 4;

std::vector<std::int64_t> columnOrder(const std::vector<float>& gram, std::int64_t cols,
                                      bool activationOrder) {
    std::vector<std::int64_t> order(static_cast<std::size_t>(cols));
    std::iota(order.begin(), order.end(), 0);
    if (activationOrder)
        std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
            return gram[static_cast<std::size_t>(a * cols + a)] >
                   gram[static_cast<std::size_t>(b * cols + b)];
        });
    return order;
}

double meanDiagonal(const std::vector<float>& gram, std::int64_t cols) {
    double mean = 0;
    for (std::int64_t j = 0; j < cols; ++j)
        mean += gram[static_cast<std::size_t>(j * cols + j)] / static_cast<double>(cols);
    return mean;
}

/// a b or, as `layout` says, a b^T; a [rows, cols], b [cols, out] or [out, cols].
std::vector<float> product(kernels::GemmLayout layout, const std::vector<float>& a,
                           const std::vector<float>& b, std::int64_t rows, std::int64_t out,
                           kernels::WorkerPool& pool) {
    const std::int64_t cols = static_cast<std::int64_t>(a.size()) / rows;
    std::vector<float> c(static_cast<std::size_t>(rows * out));
    kernels::GemmScratch scratch;
    kernels::gemm({layout, rows, out, cols, a.data(), cols, b.data(),
                   layout == kernels::GemmLayout::NT ? cols : out, c.data(), out},
                  scratch, pool);
    return c;
}

class Sweep {
public:
    Sweep(const GptqFactor& factor, const GptqOptions& options, std::vector<float> weights,
          std::int64_t rows, std::int64_t cols)
        : m_factor(factor),
          m_options(options),
          m_quantizer(options.scheme, searchOf(options.scheme, options.search), options.scaleType,
                      options.globalScale),
          m_weights(std::move(weights)),
          m_rows(rows),
          m_cols(cols),
          m_group(m_quantizer.groupSize(cols)),
          m_groups(cols / m_group),
          m_units(m_weights.size()),
          m_grids(static_cast<std::size_t>(rows * m_groups)),
          m_losses(static_cast<std::size_t>((rows + kCodeRows - 1) / kCodeRows)) {}

    void findScales(const std::vector<float>& inputPower, kernels::WorkerPool& pool,
                    RunControl& control) {
        if (m_options.scheme.isSuperBlock()) {
            m_blocks.emplace(m_options.scheme, m_weights, m_rows, m_cols, inputPower.data(), pool,
                             control);
            m_grids = m_blocks->grids();
            return;
        }
        if (m_quantizer.searchesScales())
            eachPanel(0, m_rows, pool, control, [&](std::int64_t first, std::int64_t rows) {
                std::vector<float> w(panelSize(m_cols)), scales(panelSize(1));
                kernels::toPanel(m_weights.data() + first * m_cols, m_cols, rows, m_cols, w.data());
                for (std::int64_t g = 0; g < m_groups; ++g) {
                    m_quantizer.searchScales(w.data() + g * m_group * kCodeRows,
                                             inputPower.data() + g * m_group, m_group,
                                             scales.data());
                    for (std::int64_t r = 0; r < rows; ++r)
                        m_grids[static_cast<std::size_t>((first + r) * m_groups + g)].scale =
                            scales[static_cast<std::size_t>(r)];
                }
            });
        else
            pool.parallelFor(m_rows, 8, [&](std::int64_t begin, std::int64_t end, int /*thread*/) {
                for (std::int64_t i = begin * m_groups; i < end * m_groups && !control.cancelled();
                     ++i)
                    m_grids[static_cast<std::size_t>(i)] =
                        m_quantizer.gridOf(m_weights.data() + i * m_group,
                                           inputPower.data() + i % m_groups * m_group, m_group);
            });
        control.check();
        shareScales(m_options.scheme, m_rows, m_groups, m_grids.data());
    }

    void run(kernels::WorkerPool& pool, RunControl& control) {
        if (m_options.device && runOn(*m_options.device))
            return control.check();
        eachPanel(0, m_rows, pool, control, [&](std::int64_t first, std::int64_t rows) {
            quantizePanel(first, rows, control);
        });
        control.check();
    }

    /// Codes and scales once more, all with all others known.
    void refine(kernels::WorkerPool& pool, RunControl& control) {
        RefineTarget target;
        target.rows = m_rows;
        target.cols = m_cols;
        target.weights = m_weights.data();
        target.gram = m_options.gram->data();
        target.ridge = m_factor.ridge;
        target.codes = m_units.data();
        target.grids = m_grids.data();
        target.fixedScales = m_blocks.has_value() || m_options.scheme.rowsPerScale() > 1;
        m_refinedLoss = refineCodes(target, m_quantizer, m_options.refinePasses, pool, control);
    }

    GptqResult result(kernels::WorkerPool& pool) {
        GptqResult result;
        result.loss =
            m_refinedLoss ? *m_refinedLoss : std::accumulate(m_losses.begin(), m_losses.end(), 0.0);
        std::vector<std::int8_t> codes(m_units.size());
        pool.parallelFor(m_rows, 8, [&](std::int64_t begin, std::int64_t end, int /*thread*/) {
            for (std::int64_t i = begin * m_groups; i < end * m_groups; ++i)
                for (std::int64_t j = i * m_group; j < (i + 1) * m_group; ++j)
                    codes[static_cast<std::size_t>(j)] =
                        m_quantizer.encode(m_units[static_cast<std::size_t>(j)],
                                           m_grids[static_cast<std::size_t>(i)].shift);
        });
        if (m_blocks) {
            m_blocks->setCodes(codes, pool);
            result.tensor = m_blocks->tensor();
        } else {
            result.tensor = packCodes(m_options.scheme, m_rows, m_cols, codes.data(),
                                      m_grids.data(), m_options.scaleType, m_options.globalScale);
        }
        return result;
    }

private:
    static constexpr std::int64_t kCodeRows = kernels::kCodeRows;
    static std::size_t panelSize(std::int64_t cols) {
        return static_cast<std::size_t>(cols * kCodeRows);
    }
    /// Codes that are whole numbers or small floats.
    bool runOn(WeightWorker& device) {
        using Kind = kernels::CodeRule::Kind;
        const kernels::CodeRule rule = m_quantizer.rule();
        if (rule.kind != Kind::Whole && rule.kind != Kind::Floating)
            return false;
        std::vector<float> scales, shifts;
        for (const GroupGrid& grid : m_grids) {
            scales.push_back(grid.scale);
            shifts.push_back(grid.shift);
        }
        std::vector<double> losses(static_cast<std::size_t>(m_rows));
        ColumnSweep sweep;
        sweep.rows = m_rows;
        sweep.cols = m_cols;
        sweep.group = m_group;
        sweep.grid = rule.grid;
        sweep.weights = m_weights.data();
        sweep.lower = m_factor.lower.data();
        sweep.order = m_factor.order.data();
        sweep.scales = scales.data();
        sweep.shifts = shifts.data();
        sweep.codes = m_units.data();
        sweep.losses = losses.data();
        if (!device.sweepColumns(sweep))
            return false;
        m_losses = std::move(losses);
        return true;
    }
    void quantizePanel(std::int64_t first, std::int64_t rows, RunControl& control) {
        const std::int64_t block = std::max<std::int64_t>(1, m_options.block);
        std::vector<float> weights(panelSize(m_cols)), codes(panelSize(m_cols)),
            errors(panelSize(m_cols)), sums(panelSize(block)), losses(panelSize(1));
        kernels::toPanel(m_weights.data() + first * m_cols, m_cols, rows, m_cols, weights.data());
        const PanelGrids grids(m_grids.data(), m_rows, m_groups, first);
        kernels::PanelSweep sweep;
        sweep.rule = m_quantizer.rule();
        sweep.group = m_group;
        sweep.factorStride = m_cols;
        sweep.weights = weights.data();
        sweep.scales = grids.scales.data();
        sweep.shifts = grids.shifts.data();
        sweep.sums = sums.data();
        sweep.codes = codes.data();
        sweep.losses = losses.data();
        for (std::int64_t b = 0; b < m_cols && !control.cancelled(); b += block) {
            sweep.width = std::min(block, m_cols - b);
            // What the columns done so far leave for those of this block.
            kernels::panelProduct({sweep.width, b, m_factor.lower.data() + b * m_cols, m_cols, 1,
                                   errors.data(), sums.data(), false});
            sweep.columns = m_factor.order.data() + b;
            sweep.factor = m_factor.lower.data() + b * m_cols + b;
            sweep.errors = errors.data() + b * kCodeRows;
            kernels::sweepColumns(sweep);
        }
        kernels::fromPanel(codes.data(), rows, m_cols, m_units.data() + first * m_cols, m_cols);
        for (std::int64_t r = 0; r < rows; ++r)
            m_losses[static_cast<std::size_t>(first / kCodeRows)] +=
                losses[static_cast<std::size_t>(r)];
    }

    const GptqFactor& m_factor;
    const GptqOptions& m_options;
    GroupQuantizer m_quantizer;
    std::vector<float> m_weights;  // [rows, cols]
    std::int64_t m_rows, m_cols, m_group, m_groups;
    std::vector<float> m_units;      // [rows, cols] codes in units of the grid
    std::vector<GroupGrid> m_grids;  // [rows, groups]
    std::vector<double> m_losses;    // of panels, or of rows
    std::optional<SuperBlocks> m_blocks;
    std::optional<double> m_refinedLoss;
};

}  // namespace

GptqFactor factorInputs(const std::vector<float>& gram, std::int64_t cols, double damping,
                        bool activationOrder, kernels::WorkerPool& pool, RunControl& control) {
    GptqFactor factor;
    factor.order = columnOrder(gram, cols, activationOrder);
    const double mean = meanDiagonal(gram, cols);
    std::vector<float> flipped(gram.size());
    factor.damping = damping;
    for (int attempt = 0; attempt < kDampingAttempts && !factor.usable; ++attempt) {
        if (attempt > 0)
            factor.damping *= 10;
        // Last column first: the lower factor of that is U of H = U U^T, read backwards.
        for (std::int64_t a = 0; a < cols; ++a) {
            const std::int64_t row = factor.order[static_cast<std::size_t>(cols - 1 - a)];
            for (std::int64_t b = 0; b < cols; ++b)
                flipped[static_cast<std::size_t>(a * cols + b)] = gram[static_cast<std::size_t>(
                    row * cols + factor.order[static_cast<std::size_t>(cols - 1 - b)])];
            flipped[static_cast<std::size_t>(a * cols + a)] +=
                static_cast<float>(factor.damping * mean);
        }
        factor.usable = choleskyInPlace(flipped.data(), cols, pool, control);
    }
    if (!factor.usable)
        return factor;
    factor.ridge = static_cast<float>(factor.damping * mean);
    // The factor read backwards: (r, c) and (cols - 1 - c, cols - 1 - r) change places.
    for (std::int64_t r = 0; r < cols; ++r) {
        for (std::int64_t c = 0; c <= r && r + c < cols - 1; ++c)
            std::swap(flipped[static_cast<std::size_t>(r * cols + c)],
                      flipped[static_cast<std::size_t>((cols - 1 - c) * cols + cols - 1 - r)]);
        std::fill_n(flipped.begin() + static_cast<std::ptrdiff_t>(r * cols + r + 1), cols - 1 - r,
                    0.0f);
    }
    factor.lower = std::move(flipped);
    return factor;
}

GptqResult quantizeGptq(const std::string& name, const Weight& weight, const GptqFactor& factor,
                        const std::vector<float>& inputPower, const GptqOptions& options,
                        kernels::WorkerPool& pool, RunControl& control) {
    const std::int64_t rows = weight.shape().at(0), cols = weight.shape().at(1);
    std::vector<float> values = weight.toFloat();
    for (const float value : values)
        if (!std::isfinite(value))
            throw EngineError(ErrorKind::BadInput,
                              "tensor " + name + " holds NaN or infinite values");
    GptqOptions resolved = options;
    if (options.scheme.format != kernels::WeightFormat::NvFp4)
        resolved.globalScale = 1;
    else if (!(options.globalScale > 0))
        resolved.globalScale = sharedGlobalScale({&weight}, pool);
    if (options.target)
        values = *options.target;
    Sweep sweep(factor, resolved, std::move(values), rows, cols);
    sweep.findScales(inputPower, pool, control);
    sweep.run(pool, control);
    if (options.refinePasses > 0 && options.gram)
        sweep.refine(pool, control);
    return sweep.result(pool);
}

OutputFollower::OutputFollower(const std::vector<float>& gram, InputDrift&& drift,
                               std::int64_t cols, double damping, kernels::WorkerPool& pool,
                               RunControl& control)
    : m_pool(pool), m_control(control), m_cols(cols), m_factor(gram), m_drift(std::move(drift)) {
    const float ridge = static_cast<float>(damping * meanDiagonal(gram, cols));
    for (std::int64_t j = 0; j < cols; ++j)
        m_factor[static_cast<std::size_t>(j * cols + j)] += ridge;
    m_usable = choleskyInPlace(m_factor.data(), cols, pool, control);
}

OutputFollower::Target OutputFollower::target(const std::vector<float>& weights) const {
    if (!m_usable)
        return {weights, 0};
    const auto rows = static_cast<std::int64_t>(weights.size()) / m_cols;
    std::vector<float> correction =
        product(kernels::GemmLayout::NN, weights, m_drift.product, rows, m_cols, m_pool);
    solveRowsInPlace(m_factor.data(), m_cols, correction.data(), rows, m_pool, m_control);
    const double trust = trustIn(correction, weights);
    for (std::size_t i = 0; i < correction.size(); ++i)
        correction[i] = weights[i] + static_cast<float>(trust) * correction[i];
    return {std::move(correction), trust};
}

/// The t that brings t D x closest to W (p - x) over the tokens held back, all of which count
/// alike: by their power the few with massive activations would decide for all others.
double OutputFollower::trustIn(const std::vector<float>& correction,
                               const std::vector<float>& weights) const {
    if (m_drift.heldRows == 0)
        return 1;
    const auto rows = static_cast<std::int64_t>(weights.size()) / m_cols;
    const auto outputs = [&](const std::vector<float>& x, const std::vector<float>& w) {
        return product(kernels::GemmLayout::NT, x, w, m_drift.heldRows, rows, m_pool);
    };
    const std::vector<float> said = outputs(m_drift.heldInputs, correction);
    const std::vector<float> wanted = outputs(m_drift.heldDrift, weights);
    double agreement = 0, power = 0;
    for (std::int64_t token = 0; token < m_drift.heldRows; ++token) {
        double together = 0, alone = 0, drift = 0;
        for (std::int64_t i = token * rows; i < (token + 1) * rows; ++i) {
            const double s = said[static_cast<std::size_t>(i)],
                         w = wanted[static_cast<std::size_t>(i)];
            together += s * w;
            alone += s * s;
            drift += w * w;
        }
        if (drift > 0) {
            agreement += together / drift;
            power += alone / drift;
        }
    }
    return power > 0 ? std::clamp(agreement / power, 0.0, 1.0) : 0;
}

}  // namespace fettle
