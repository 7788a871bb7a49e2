// Codes of a weight chosen column by column, as GPTQ (Frantar et al. 2022, arXiv 2210.17323) and
// coordinate descent (Behdin et al. 2023, arXiv 2309.01885) choose them. A panel is kCodeRows rows
// of the weight turned on their side: "lane" r of a column is row r, so that what one column does
// to the others is done for all rows at once. Rows know nothing of each other: panels are worked on
// by a thread each, and neither their number nor that of the threads changes a result.
#pragma once

#include <cstdint>

#include "kernels/ops/fake_quant.h"

namespace fettle::kernels {

constexpr std::int64_t kCodeRows = 64;

/// Which codes a value may take, in units of its scale.
struct CodeRule {
    enum class Kind : std::uint8_t {
        Whole,     ///< whole numbers from lowest + shift to highest + shift; the shift is whole
        Shifted,   ///< whole numbers from lowest to highest, each plus a shift that need not be
        Floating,  ///< those of a small float, without shift
        Table      ///< the values of `table`, ascending, without shift
    };
    Kind kind = Kind::Whole;
    CodeGrid grid;
    float table[16] = {};
};

/// `rows` <= kCodeRows rows of `matrix` [rows, cols], `stride` apart -> panel [cols, kCodeRows];
/// the lanes beyond them are zero.
void toPanel(const float* matrix, std::int64_t stride, std::int64_t rows, std::int64_t cols,
             float* panel);
/// And back.
void fromPanel(const float* panel, std::int64_t rows, std::int64_t cols, float* matrix,
               std::int64_t stride);

/// out [count, kCodeRows] = a x, or out + a x; a(i, k) = a[i * aRow + k * aStep], x [steps,
/// kCodeRows]. Every element is one chain of fused multiply-adds in the order of the steps.
struct PanelProduct {
    std::int64_t count = 0, steps = 0;
    const float* a = nullptr;
    std::int64_t aRow = 0, aStep = 1;
    const float* x = nullptr;
    float* out = nullptr;
    bool accumulate = false;
};
void panelProduct(const PanelProduct& product);

/// Solves T x = x - sums for a lower triangle t(i, k) = t[i * tRow + k * tStep] of `width`; column
/// i of the panel lies at x + i * xStep. Negative strides go through an upper triangle from its
/// end.
struct PanelSolve {
    std::int64_t width = 0;
    const float* t = nullptr;
    std::int64_t tRow = 0, tStep = 1;
    float* x = nullptr;
    const float* sums = nullptr;
    std::int64_t xStep = kCodeRows;  ///< of `sums` too
};
void panelSolve(const PanelSolve& solve);

/// What `n` columns w [n, kCodeRows] lose under a scale per lane, with the shift 0: error = sum
/// h (w - q s)^2, and for the scale that would be best for the same codes wq = sum h w q and qq =
/// sum h q^2, all [kCodeRows]. h [n] or null for ones. Sums are in the order of the columns,
/// nothing fused.
struct ScaleTrial {
    CodeRule rule;
    const float* w = nullptr;
    const float* h = nullptr;
    std::int64_t n = 0;
    const float* scales = nullptr;
    float *error = nullptr, *wq = nullptr, *qq = nullptr;
};
void tryScales(const ScaleTrial& trial);

/// GPTQ over `width` columns of a panel in the factor's order: each column aims at its weight plus
/// what the errors of those before it leave, sums / factor[j][j].
struct PanelSweep {
    CodeRule rule;
    std::int64_t width = 0, group = 0;
    const std::int64_t* columns = nullptr;  ///< [width] of the weight
    const float* factor = nullptr;          ///< lower triangle [width, width]
    std::int64_t factorStride = 0;
    const float* weights = nullptr;                    ///< [cols, kCodeRows]
    const float *scales = nullptr, *shifts = nullptr;  ///< [groups, kCodeRows]
    float* sums = nullptr;    ///< [width, kCodeRows] of columns before these; used up
    float* codes = nullptr;   ///< [cols, kCodeRows] in units of the grid
    float* errors = nullptr;  ///< [width, kCodeRows] weight less code times scale
    float* losses = nullptr;  ///< [kCodeRows], added to: squared error times factor[j][j] squared
};
void sweepColumns(const PanelSweep& sweep);

/// Coordinate descent over the codes of `width` columns: each is taken to the nearest code of
/// code * scale + gradient / (gram[j][j] + ridge), and the gradient of these columns follows.
struct PanelDescent {
    CodeRule rule;
    std::int64_t width = 0, group = 0;
    std::int64_t firstColumn = 0;  ///< of the weight: chooses the group
    const float* gram = nullptr;   ///< [width, width]
    std::int64_t gramStride = 0;
    float ridge = 0;
    const float *scales = nullptr, *shifts = nullptr;  ///< [groups, kCodeRows]
    float* codes = nullptr;                            ///< [width, kCodeRows]
    float* gradient = nullptr;                         ///< [width, kCodeRows]
};
void improveCodes(const PanelDescent& descent);

}  // namespace fettle::kernels
