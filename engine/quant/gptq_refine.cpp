#include "engine/quant/gptq_refine.h"

#include <algorithm>
#include <cmath>

#include "engine/quant/lanes.h"
#include "kernels/ops/gemm.h"
#include "kernels/ops/matmul.h"

namespace fettle {

namespace {

constexpr std::int64_t kBlock = 128;

class Descent {
public:
    Descent(const RefineTarget& target, const GroupQuantizer& quantizer, kernels::WorkerPool& pool,
            RunControl& control)
        : m_t(target),
          m_quantizer(quantizer),
          m_pool(pool),
          m_control(control),
          m_group(quantizer.groupSize(target.cols)),
          m_groups(target.cols / m_group),
          // Whole groups to a block, so that a scale is changed within one.
          m_block(m_group <= kBlock ? kBlock / m_group * m_group : kBlock),
          m_changes(static_cast<std::size_t>(target.rows * m_block)) {}

    double run(int passes) {
        startGradient();
        for (int pass = 0; pass < passes; ++pass)
            for (std::int64_t b = 0; b < m_t.cols; b += m_block) {
                m_control.check();
                const std::int64_t width = std::min(m_block, m_t.cols - b);
                m_pool.parallelFor((m_t.rows + kLanes - 1) / kLanes, 1,
                                   [&](std::int64_t begin, std::int64_t end, int /*thread*/) {
                                       for (std::int64_t t = begin; t < end; ++t)
                                           improveTile(t * kLanes, b, width);
                                   });
                spread(b, width);
            }
        return loss();
    }

private:
    /// G = (W - W^) H.
    void startGradient() {
        const auto count = static_cast<std::size_t>(m_t.rows * m_t.cols);
        std::vector<float> rest(count);
        for (std::size_t i = 0; i < count; ++i)
            rest[i] = m_t.weights[i] - value(static_cast<std::int64_t>(i));
        m_gradient.resize(count);
        kernels::GemmScratch scratch;
        kernels::gemm({kernels::GemmLayout::NN, m_t.rows, m_t.cols, m_t.cols, rest.data(), m_t.cols,
                       m_t.gram, m_t.cols, m_gradient.data(), m_t.cols},
                      scratch, m_pool);
        for (std::size_t i = 0; i < count; ++i)
            m_gradient[i] += m_t.ridge * rest[i];
    }

    float value(std::int64_t at) const {
        const std::int64_t row = at / m_t.cols, column = at % m_t.cols;
        return m_t.codes[at] * m_t.grids[row * m_groups + column / m_group].scale;
    }

    /// Columns [b, b + width) of up to sixteen rows. Their gradient is kept up to date here, that
    /// of the others by spread().
    void improveTile(std::int64_t first, std::int64_t b, std::int64_t width) {
        const std::int64_t count = std::min(kLanes, m_t.rows - first);
        std::vector<Lanes> gradient(static_cast<std::size_t>(width)), before(gradient.size());
        for (std::int64_t j = 0; j < width; ++j)
            for (std::int64_t r = 0; r < count; ++r) {
                const std::int64_t at = (first + r) * m_t.cols + b + j;
                gradient[static_cast<std::size_t>(j)][static_cast<std::size_t>(r)] =
                    m_gradient[static_cast<std::size_t>(at)];
                before[static_cast<std::size_t>(j)][static_cast<std::size_t>(r)] = value(at);
            }
        if (m_group <= kBlock && !m_t.fixedScales)
            for (std::int64_t g = 0; g < width; g += m_group)
                improveScales(first, count, b, width, g, gradient);
        for (std::int64_t j = 0; j < width; ++j)
            improveCodes(first, count, b, width, j, gradient);
        for (std::int64_t r = 0; r < count; ++r)
            for (std::int64_t j = 0; j < width; ++j)
                m_changes[static_cast<std::size_t>((first + r) * m_block + j)] =
                    before[static_cast<std::size_t>(j)][static_cast<std::size_t>(r)] -
                    value((first + r) * m_t.cols + b + j);
    }

    /// The scale of columns [g, g + group) of the block: codes q turn the error into
    /// e - 2 d (q G) + d^2 (q H q) when the scale grows by d.
    void improveScales(std::int64_t first, std::int64_t count, std::int64_t b, std::int64_t width,
                       std::int64_t g, std::vector<Lanes>& gradient) {
        std::vector<Lanes> product(static_cast<std::size_t>(width));  // q H, columns of the block
        for (std::int64_t j = g; j < g + m_group; ++j) {
            Lanes q{};
            for (std::int64_t r = 0; r < count; ++r)
                q[static_cast<std::size_t>(r)] = m_t.codes[(first + r) * m_t.cols + b + j];
            const float* h = m_t.gram + (b + j) * m_t.cols + b;
            addMultiples(product.data(), q, h, width);
            addMultiples(product.data() + j, q, &m_t.ridge, 1);
        }
        Lanes step{};
        for (std::int64_t r = 0; r < count; ++r) {
            const auto lane = static_cast<std::size_t>(r);
            double slope = 0, curve = 0;
            for (std::int64_t j = g; j < g + m_group; ++j) {
                const double q = m_t.codes[(first + r) * m_t.cols + b + j];
                slope += q * gradient[static_cast<std::size_t>(j)][lane];
                curve += q * product[static_cast<std::size_t>(j)][lane];
            }
            float& scale = m_t.grids[(first + r) * m_groups + (b + g) / m_group].scale;
            if (!(curve > 0))
                continue;
            const float wanted = m_quantizer.storedScale(scale + static_cast<float>(slope / curve));
            const double d = static_cast<double>(wanted) - scale;
            if (!(wanted > 0) || d * (d * curve - 2 * slope) >= 0)
                continue;
            step[lane] = static_cast<float>(d);
            scale = wanted;
        }
        for (std::int64_t i = 0; i < width; ++i)
            for (std::size_t r = 0; r < kLanes; ++r)
                gradient[static_cast<std::size_t>(i)][r] -=
                    step[r] * product[static_cast<std::size_t>(i)][r];
    }

    void improveCodes(std::int64_t first, std::int64_t count, std::int64_t b, std::int64_t width,
                      std::int64_t j, std::vector<Lanes>& gradient) {
        const float* h = m_t.gram + (b + j) * m_t.cols + b;
        const std::int64_t group = (b + j) / m_group;
        Lanes change{};  // less what values grow by
        bool any = false;
        for (std::int64_t r = 0; r < count; ++r) {
            const auto lane = static_cast<std::size_t>(r);
            float& code = m_t.codes[(first + r) * m_t.cols + b + j];
            const auto [scale, shift] = m_t.grids[(first + r) * m_groups + group];
            const float best = m_quantizer.codeOf(
                code * scale + gradient[static_cast<std::size_t>(j)][lane] / (h[j] + m_t.ridge),
                1.0f / scale, shift);
            if (best == code)
                continue;
            change[lane] = (code - best) * scale;
            code = best;
            any = true;
        }
        if (!any)
            return;
        addMultiples(gradient.data(), change, h, width);
        addMultiples(gradient.data() + j, change, &m_t.ridge, 1);
    }

    /// G += changes H[block, :].
    void spread(std::int64_t b, std::int64_t width) {
        std::vector<float> part(static_cast<std::size_t>(m_t.cols * width));
        for (std::int64_t c = 0; c < m_t.cols; ++c)
            std::copy_n(m_t.gram + c * m_t.cols + b, width, part.data() + c * width);
        kernels::WeightView view;
        view.rows = m_t.cols;
        view.cols = width;
        view.data = part.data();
        kernels::Activations x;
        x.assign(m_changes.data(), m_t.rows, width, m_block);
        kernels::matmul(kernels::PackedWeight::pack(view, m_pool), x, m_gradient.data(), m_t.cols,
                        nullptr, true, m_pool);
        for (std::int64_t r = 0; r < m_t.rows; ++r)
            for (std::int64_t c = 0; c < width; ++c)
                m_gradient[static_cast<std::size_t>(r * m_t.cols + b + c)] +=
                    m_t.ridge * m_changes[static_cast<std::size_t>(r * m_block + c)];
    }

    double loss() const {
        double sum = 0;
        for (std::int64_t i = 0; i < m_t.rows * m_t.cols; ++i)
            sum += (static_cast<double>(m_t.weights[i]) - value(i)) *
                   m_gradient[static_cast<std::size_t>(i)];
        return sum;
    }

    const RefineTarget& m_t;
    const GroupQuantizer& m_quantizer;
    kernels::WorkerPool& m_pool;
    RunControl& m_control;
    std::int64_t m_group, m_groups, m_block;
    std::vector<float> m_gradient;  // [rows, cols]
    std::vector<float> m_changes;   // [rows, block] W^ before less W^ after
};

}  // namespace

double refineCodes(const RefineTarget& target, const GroupQuantizer& quantizer, int passes,
                   kernels::WorkerPool& pool, RunControl& control) {
    return Descent(target, quantizer, pool, control).run(passes);
}

}  // namespace fettle
