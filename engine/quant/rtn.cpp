#include "engine/quant/rtn.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "engine/core/error.h"
#include "engine/quant/super_blocks.h"

namespace fettle {

namespace {

struct Sums {
    double error = 0, signal = 0, weightedError = 0, weightedSignal = 0;
};

void fillErrors(const Sums& sums, std::size_t count, RtnResult& result) {
    result.mse = sums.error / static_cast<double>(count);
    result.sqnrDb = sums.error > 0 ? 10 * std::log10(sums.signal / sums.error) : 200;
    result.relativeOutputError =
        sums.weightedSignal > 0 ? std::sqrt(sums.weightedError / sums.weightedSignal) : 0;
}

RtnResult fittedBlocks(const Weight& weight, const RtnOptions& options, kernels::WorkerPool& pool,
                       RunControl& control) {
    const std::vector<float> values = weight.toFloat();
    const std::int64_t cols = weight.shape().at(1);
    RtnResult result;
    result.tensor =
        SuperBlocks(options.scheme, values, weight.shape().at(0), cols,
                    options.inputPower ? options.inputPower->data() : nullptr, pool, control)
            .tensor();
    const std::vector<float> got = Weight(result.tensor).toFloat();
    Sums sums;
    for (std::size_t i = 0; i < got.size(); ++i) {
        const double d = static_cast<double>(values[i]) - got[i],
                     signal = static_cast<double>(values[i]) * values[i],
                     h = options.inputPower
                             ? (*options.inputPower)[i % static_cast<std::size_t>(cols)]
                             : 1;
        sums.error += d * d;
        sums.signal += signal;
        sums.weightedError += h * d * d;
        sums.weightedSignal += h * signal;
    }
    fillErrors(sums, values.size(), result);
    return result;
}

}  // namespace

float sharedGlobalScale(const std::vector<const Weight*>& weights, kernels::WorkerPool& pool) {
    float amax = 0;
    for (const Weight* weight : weights) {
        const kernels::WeightView view = weight->view();
        std::vector<float> maxima(static_cast<std::size_t>(pool.threads()));
        pool.parallelFor(view.rows, 16, [&](std::int64_t begin, std::int64_t end, int thread) {
            std::vector<float> row(static_cast<std::size_t>(view.cols));
            float& most = maxima[static_cast<std::size_t>(thread)];
            for (std::int64_t r = begin; r < end; ++r) {
                weight->rowToFloat(r, row.data());
                for (const float value : row)
                    if (std::isfinite(value))
                        most = std::max(most, std::fabs(value));
            }
        });
        amax = std::max(amax, *std::max_element(maxima.begin(), maxima.end()));
    }
    return kernels::nvFp4GlobalScale(amax);
}

RtnResult quantizeRtn(const std::string& name, const Weight& weight, const RtnOptions& options,
                      kernels::WorkerPool& pool, RunControl& control) {
    const kernels::WeightView view = weight.view();
    const std::int64_t rows = view.rows, cols = view.cols;
    const QuantScheme& scheme = options.scheme;
    const std::int64_t group = scheme.granularity == Granularity::Group ? scheme.groupSize : cols;
    const float globalScale = scheme.format != kernels::WeightFormat::NvFp4 ? 1
                              : options.globalScale > 0                     ? options.globalScale
                                                        : sharedGlobalScale({&weight}, pool);
    if (scheme.isSuperBlock())
        return fittedBlocks(weight, options, pool, control);
    const GroupQuantizer quantizer(scheme, searchOf(scheme, options.search), options.scaleType,
                                   globalScale);
    if (cols % group != 0)
        throw EngineError(ErrorKind::Usage, name + ": " + std::to_string(cols) +
                                                " columns are not a multiple of the group size " +
                                                std::to_string(group));

    RtnResult result;
    std::vector<std::int8_t> codes(static_cast<std::size_t>(rows * cols));
    std::vector<GroupGrid> grids(static_cast<std::size_t>(rows * (cols / group)));
    std::vector<Sums> rowSums(static_cast<std::size_t>(rows));
    const bool shared = scheme.rowsPerScale() > 1;
    if (shared) {
        pool.parallelFor(rows, 8, [&](std::int64_t begin, std::int64_t end, int /*thread*/) {
            std::vector<float> w(static_cast<std::size_t>(cols));
            for (std::int64_t row = begin; row < end && !control.cancelled(); ++row) {
                weight.rowToFloat(row, w.data());
                for (std::int64_t g = 0; g < cols / group; ++g)
                    grids[static_cast<std::size_t>(row * (cols / group) + g)] = quantizer.gridOf(
                        w.data() + g * group,
                        options.inputPower ? options.inputPower->data() + g * group : nullptr,
                        group);
            }
        });
        control.check();
        shareScales(scheme, rows, cols / group, grids.data());
    }
    std::atomic<std::int64_t> done{0};
    std::atomic<bool> damaged{false};

    const auto quantizeRow = [&](std::int64_t row, std::vector<float>& w) {
        weight.rowToFloat(row, w.data());
        float check = 0;
        for (std::int64_t j = 0; j < cols; ++j)
            check += w[static_cast<std::size_t>(j)] * 0.0f;  // zero, unless something is not finite
        if (check != 0 || std::isnan(check)) {
            damaged = true;
            return;
        }
        Sums& sums = rowSums[static_cast<std::size_t>(row)];
        for (std::int64_t g = 0; g < cols / group; ++g) {
            const float* values = w.data() + g * group;
            const float* h = options.inputPower ? options.inputPower->data() + g * group : nullptr;
            GroupGrid& grid = grids[static_cast<std::size_t>(row * (cols / group) + g)];
            if (!shared)
                grid = quantizer.gridOf(values, h, group);
            const float inverse = 1.0f / grid.scale;
            for (std::int64_t j = 0; j < group; ++j) {
                const float q = quantizer.codeOf(values[j], inverse, grid.shift);
                codes[static_cast<std::size_t>(row * cols + g * group + j)] =
                    quantizer.encode(q, grid.shift);
                const double d = values[j] - static_cast<double>(q) * grid.scale,
                             signal = static_cast<double>(values[j]) * values[j];
                sums.error += d * d;
                sums.signal += signal;
                sums.weightedError += (h ? h[j] : 1.0) * d * d;
                sums.weightedSignal += (h ? h[j] : 1.0) * signal;
            }
        }
    };
    pool.parallelFor(rows, 8, [&](std::int64_t begin, std::int64_t end, int thread) {
        std::vector<float> w(static_cast<std::size_t>(cols));
        for (std::int64_t row = begin; row < end && !damaged; ++row) {
            if (control.cancelled())
                return;
            quantizeRow(row, w);
        }
        const std::int64_t finished = done += end - begin;
        if (thread == 0 && !control.cancelled())
            control.progress(static_cast<double>(finished) / static_cast<double>(rows), name);
    });
    control.check();
    if (damaged)
        throw EngineError(ErrorKind::BadInput, "tensor " + name + " holds NaN or infinite values");

    result.tensor =
        packCodes(scheme, rows, cols, codes.data(), grids.data(), options.scaleType, globalScale);
    Sums total;
    for (const Sums& sums : rowSums) {
        total.error += sums.error;
        total.signal += sums.signal;
        total.weightedError += sums.weightedError;
        total.weightedSignal += sums.weightedSignal;
    }
    fillErrors(total, static_cast<std::size_t>(rows * cols), result);
    return result;
}

}  // namespace fettle
