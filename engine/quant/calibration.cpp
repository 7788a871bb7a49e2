#include "engine/quant/calibration.h"

#include <algorithm>
#include <cmath>

namespace fettle {

CalibrationStatistics collectInputStatistics(Transformer& transformer,
                                             const std::vector<TextWindow>& windows,
                                             RunControl& control) {
    struct Sums {
        std::vector<double> squares;
        std::vector<float> maximum;
        std::int64_t tokens = 0;
    };
    std::map<std::string, Sums> sums;
    transformer.observeLinears([&](const std::string& name, const float* x, std::int64_t rows,
                                   std::int64_t cols, std::int64_t stride) {
        Sums& s = sums[name];
        s.squares.resize(static_cast<std::size_t>(cols));
        s.maximum.resize(static_cast<std::size_t>(cols));
        for (std::int64_t r = 0; r < rows; ++r)
            for (std::int64_t j = 0; j < cols; ++j) {
                const float value = x[r * stride + j];
                s.squares[static_cast<std::size_t>(j)] += static_cast<double>(value) * value;
                s.maximum[static_cast<std::size_t>(j)] =
                    std::max(s.maximum[static_cast<std::size_t>(j)], std::fabs(value));
            }
        s.tokens += rows;
    });
    struct Off {  // the observer refers to this frame: it must go, whatever happens
        Transformer& transformer;
        ~Off() { transformer.observeLinears({}); }
    } off{transformer};

    std::size_t longest = 0;
    for (const TextWindow& window : windows)
        longest = std::max(longest, window.ids.size());
    KvCache cache = transformer.makeCache(static_cast<std::int64_t>(longest));
    for (std::size_t w = 0; w < windows.size(); ++w) {
        control.progress(static_cast<double>(w) / static_cast<double>(windows.size()),
                         "calibration window " + std::to_string(w + 1) + " of " +
                             std::to_string(windows.size()));
        cache.truncate(0);
        transformer.forward(windows[w].ids, cache, &control);
    }

    CalibrationStatistics statistics;
    for (auto& [name, s] : sums) {
        InputStatistics& out = statistics[name];
        out.tokens = s.tokens;
        out.maximum = std::move(s.maximum);
        for (const double square : s.squares)
            out.meanSquare.push_back(static_cast<float>(square / static_cast<double>(s.tokens)));
    }
    return statistics;
}

}  // namespace fettle
