// Attention of one sequence and key/value head, a block of query rows at a time: the products are
// the register tiles of gemm.cpp, a whole row of scores is held at once.
#include "kernels/cpu/simd/lanes.h"
#include "kernels/cpu/simd/train_tables.h"

namespace fettle::kernels::FETTLE_SIMD {
namespace {

constexpr std::int64_t kBlock = 48;  // query rows

FETTLE_INLINE std::int64_t roundUp(std::int64_t value, std::int64_t unit) {
    return (value + unit - 1) / unit * unit;
}

/// Offsets into a unit's scratch memory.
struct Layout {
    std::int64_t keyColumns, values, keyRows, valueColumns, scores, slopes, dk, dv, block, total;

    Layout(std::int64_t tokens, std::int64_t headDim) {
        const std::int64_t wideTokens = roundUp(tokens, kGemmWidth);
        const std::int64_t wideDim = roundUp(headDim, kGemmWidth);
        std::int64_t at = 0;
        const auto take = [&at](std::int64_t floats) {
            const std::int64_t here = at;
            at += roundUp(floats, 16);
            return here;
        };
        keyColumns = take(wideTokens * headDim);    // K^T: for scores
        values = take(wideDim * tokens);            // V: for outputs
        keyRows = take(wideDim * tokens);           // K: for dQ
        valueColumns = take(wideTokens * headDim);  // V^T: for dP
        scores = take(kBlock * wideTokens);
        slopes = take(kBlock * wideTokens);
        dk = take(tokens * headDim);
        dv = take(tokens * headDim);
        block = take(wideDim * kBlock);  // dO or Q of the block
        total = at;
    }
};

/// Panels over tokens: [panel][headDim][token].
void packTokens(const float* x, std::int64_t stride, std::int64_t tokens, std::int64_t headDim,
                float* to) {
    for (std::int64_t t = 0; t < tokens; t += kGemmWidth) {
        const GemmPack piece = {
            x + t * stride, stride,          1, tokens - t < kGemmWidth ? tokens - t : kGemmWidth,
            headDim,        to + t * headDim};
        gemmPack(&piece);
    }
}

/// Panels over the head's dimensions: [panel][tokens][dimension].
void packDims(const float* x, std::int64_t stride, std::int64_t tokens, std::int64_t headDim,
              float* to) {
    for (std::int64_t d = 0; d < headDim; d += kGemmWidth) {
        const GemmPack piece = {x + d,  1,
                                stride, headDim - d < kGemmWidth ? headDim - d : kGemmWidth,
                                tokens, to + d * tokens};
        gemmPack(&piece);
    }
}

/// Which keys a block of query rows [begin, end) needs: [first, last), first on a panel's border.
struct Keys {
    std::int64_t first, last;
};
FETTLE_INLINE Keys keysOf(const AttentionTrainArgs& a, std::int64_t begin, std::int64_t end) {
    std::int64_t first = 0;
    if (a.window > 0 && begin - a.window + 1 > 0)
        first = (begin - a.window + 1) / kGemmWidth * kGemmWidth;
    return {first, end};
}
/// Keys row t sees within [keys.first, keys.last).
FETTLE_INLINE Keys visible(const AttentionTrainArgs& a, std::int64_t t) {
    return {a.window > 0 && t - a.window + 1 > 0 ? t - a.window + 1 : 0, t + 1};
}

FETTLE_INLINE F32x16 scored(const AttentionTrainArgs& a, F32x16 product) {
    const F32x16 s = mul(product, setF(a.scale));
    return a.softcap > 0 ? mul(setF(a.softcap), tanh(div(s, setF(a.softcap)))) : s;
}

/// Zeros outside of what a row sees: [0, from) and [to, count).
FETTLE_INLINE void clearOutside(float* row, std::int64_t from, std::int64_t to,
                                std::int64_t count) {
    for (std::int64_t i = 0; i < from; ++i)
        row[i] = 0;
    for (std::int64_t i = to; i < count; ++i)
        row[i] = 0;
}

/// Scores [rows, keys] of a block as products q k, not yet scaled.
void products(const AttentionTrainArgs& a, const float* q, std::int64_t rows, const float* packed,
              Keys keys, std::int64_t stride, float* scores, std::int64_t rowStride) {
    const GemmBlock block = {rows,
                             keys.last - keys.first,
                             a.headDim,
                             q,
                             rowStride,
                             1,
                             packed + keys.first * a.headDim,
                             kGemmWidth * a.headDim,
                             scores,
                             stride,
                             false};
    gemmBlock(&block);
}

}  // namespace

std::int64_t attentionScratchFloats(std::int64_t tokens, std::int64_t headDim) {
    return Layout(tokens, headDim).total;
}

void attentionForward(const AttentionTrainArgs* args, const AttentionUnit* unit, float* scratch) {
    const AttentionTrainArgs& a = *args;
    const std::int64_t tokens = unit->tokens, group = a.heads / a.kvHeads, dim = a.headDim;
    const Layout at(tokens, dim);
    const std::int64_t stride = roundUp(tokens, kGemmWidth);
    const std::int64_t kv = unit->firstToken * a.kvStride + unit->kvHead * dim;
    packTokens(a.k + kv, a.kvStride, tokens, dim, scratch + at.keyColumns);
    packDims(a.v + kv, a.kvStride, tokens, dim, scratch + at.values);
    float* scores = scratch + at.scores;
    for (std::int64_t head = unit->kvHead * group; head < (unit->kvHead + 1) * group; ++head) {
        for (std::int64_t begin = 0; begin < tokens; begin += kBlock) {
            const std::int64_t rows = tokens - begin < kBlock ? tokens - begin : kBlock;
            const Keys keys = keysOf(a, begin, begin + rows);
            const std::int64_t first = unit->firstToken + begin, count = keys.last - keys.first;
            products(a, a.q + first * a.qStride + head * dim, rows, scratch + at.keyColumns, keys,
                     stride, scores, a.qStride);
            for (std::int64_t i = 0; i < rows; ++i) {
                const Keys seen = visible(a, begin + i);
                float* whole = scores + i * stride;
                float* row = whole + seen.first - keys.first;
                const std::int64_t n = seen.last - seen.first;
                F32x16 largest = setF(-__builtin_inff());
                eachVector(n, [&](std::int64_t j, std::int64_t lanes) {
                    F32x16 s = scored(a, take(row + j, lanes, 0));
                    put(row + j, lanes, s);
                    if (lanes < 16)
                        s = loadPart(row + j, lanes, -__builtin_inff());
                    largest = max(s, largest);
                });
                const float maximum = maxLanes(largest);
                F32x16 sum = zeroF();
                eachVector(n, [&](std::int64_t j, std::int64_t lanes) {
                    const F32x16 p =
                        exp(sub(take(row + j, lanes, -__builtin_inff()), setF(maximum)));
                    put(row + j, lanes, p);
                    sum = add(sum, p);
                });
                const float total = sumLanes(sum);
                a.logSumExp[(first + i) * a.heads + head] =
                    maximum + static_cast<float>(__builtin_log(static_cast<double>(total)));
                const F32x16 inverse = setF(1.0F / total);
                eachVector(n, [&](std::int64_t j, std::int64_t lanes) {
                    put(row + j, lanes, mul(take(row + j, lanes, 0), inverse));
                });
                clearOutside(whole, seen.first - keys.first, seen.last - keys.first, count);
            }
            const GemmBlock out = {rows,
                                   dim,
                                   count,
                                   scores,
                                   stride,
                                   1,
                                   scratch + at.values + keys.first * kGemmWidth,
                                   tokens * kGemmWidth,
                                   a.out + first * a.outStride + head * dim,
                                   a.outStride,
                                   false};
            gemmBlock(&out);
        }
    }
}

namespace {

/// Turns products of a block into probabilities (scores) and dP into dS (slopes).
void rowGradients(const AttentionTrainArgs& a, const AttentionGrads& g, const Keys& keys,
                  std::int64_t begin, std::int64_t token, std::int64_t head, std::int64_t i,
                  std::int64_t count, float* scoreRow, float* slopeRow) {
    const Keys seen = visible(a, begin + i);
    const std::int64_t n = seen.last - seen.first, offset = seen.first - keys.first;
    const float* out = a.out + token * a.outStride + head * a.headDim;
    const float* dOut = g.dOut + token * a.outStride + head * a.headDim;
    F32x16 sum = zeroF();
    eachVector(a.headDim, [&](std::int64_t j, std::int64_t lanes) {
        sum = fma(take(out + j, lanes, 0), take(dOut + j, lanes, 0), sum);
    });
    const F32x16 delta = setF(sumLanes(sum));
    const F32x16 shift = setF(a.logSumExp[token * a.heads + head]), scale = setF(a.scale);
    float* row = scoreRow + offset;
    float* slope = slopeRow + offset;
    eachVector(n, [&](std::int64_t j, std::int64_t lanes) {
        const F32x16 s = scored(a, take(row + j, lanes, 0));
        const F32x16 p = exp(sub(s, shift));
        F32x16 ds = mul(mul(p, sub(take(slope + j, lanes, 0), delta)), scale);
        if (a.softcap > 0) {
            const F32x16 ratio = div(s, setF(a.softcap));
            ds = mul(ds, sub(setF(1.0F), mul(ratio, ratio)));
        }
        put(row + j, lanes, p);
        put(slope + j, lanes, ds);
    });
    clearOutside(scoreRow, offset, seen.last - keys.first, count);
    clearOutside(slopeRow, offset, seen.last - keys.first, count);
}

/// Adds weights^T x of a block to sums [keys, headDim].
void addToKeys(const float* weights, std::int64_t stride, Keys keys, std::int64_t rows,
               const float* packed, std::int64_t dim, float* sums) {
    const GemmBlock block = {
        keys.last - keys.first,  dim, rows, weights, 1, stride, packed, rows * kGemmWidth,
        sums + keys.first * dim, dim, true};
    gemmBlock(&block);
}

}  // namespace

void attentionBackward(const AttentionTrainArgs* args, const AttentionGrads* grads,
                       const AttentionUnit* unit, float* scratch) {
    const AttentionTrainArgs& a = *args;
    const AttentionGrads& g = *grads;
    const std::int64_t tokens = unit->tokens, group = a.heads / a.kvHeads, dim = a.headDim;
    const Layout at(tokens, dim);
    const std::int64_t stride = roundUp(tokens, kGemmWidth);
    const std::int64_t kv = unit->firstToken * a.kvStride + unit->kvHead * dim;
    packTokens(a.k + kv, a.kvStride, tokens, dim, scratch + at.keyColumns);
    packTokens(a.v + kv, a.kvStride, tokens, dim, scratch + at.valueColumns);
    packDims(a.k + kv, a.kvStride, tokens, dim, scratch + at.keyRows);
    float *scores = scratch + at.scores, *slopes = scratch + at.slopes;
    float *dk = scratch + at.dk, *dv = scratch + at.dv;
    __builtin_memset(dk, 0, static_cast<std::size_t>(tokens * dim) * sizeof(float));
    __builtin_memset(dv, 0, static_cast<std::size_t>(tokens * dim) * sizeof(float));
    for (std::int64_t head = unit->kvHead * group; head < (unit->kvHead + 1) * group; ++head) {
        for (std::int64_t begin = 0; begin < tokens; begin += kBlock) {
            const std::int64_t rows = tokens - begin < kBlock ? tokens - begin : kBlock;
            const Keys keys = keysOf(a, begin, begin + rows);
            const std::int64_t first = unit->firstToken + begin, count = keys.last - keys.first;
            const float* q = a.q + first * a.qStride + head * dim;
            const float* dOut = g.dOut + first * a.outStride + head * dim;
            products(a, q, rows, scratch + at.keyColumns, keys, stride, scores, a.qStride);
            products(a, dOut, rows, scratch + at.valueColumns, keys, stride, slopes, a.outStride);
            for (std::int64_t i = 0; i < rows; ++i)
                rowGradients(a, g, keys, begin, first + i, head, i, count, scores + i * stride,
                             slopes + i * stride);
            const GemmBlock dq = {rows,
                                  dim,
                                  count,
                                  slopes,
                                  stride,
                                  1,
                                  scratch + at.keyRows + keys.first * kGemmWidth,
                                  tokens * kGemmWidth,
                                  g.dq + first * a.qStride + head * dim,
                                  a.qStride,
                                  false};
            gemmBlock(&dq);
            packDims(dOut, a.outStride, rows, dim, scratch + at.block);
            addToKeys(scores, stride, keys, rows, scratch + at.block, dim, dv);
            packDims(q, a.qStride, rows, dim, scratch + at.block);
            addToKeys(slopes, stride, keys, rows, scratch + at.block, dim, dk);
        }
    }
    for (std::int64_t t = 0; t < tokens; ++t) {
        const auto bytes = static_cast<std::size_t>(dim) * sizeof(float);
        __builtin_memcpy(g.dk + kv + t * a.kvStride, dk + t * dim, bytes);
        __builtin_memcpy(g.dv + kv + t * a.kvStride, dv + t * dim, bytes);
    }
}

std::int64_t attentionMatchFloats(std::int64_t tokens, std::int64_t headDim,
                                  std::int64_t teacherDim) {
    return Layout(tokens, headDim).total + roundUp(tokens, kGemmWidth) * teacherDim;
}

double attentionMatch(const AttentionTrainArgs* student, const AttentionTrainArgs* teacher,
                      const AttentionUnit* unit, const std::int32_t* scoredTokens, float weight,
                      float* dq, float* dk, float* scratch) {
    const AttentionTrainArgs &a = *student, &b = *teacher;
    const std::int64_t tokens = unit->tokens, group = a.heads / a.kvHeads, dim = a.headDim;
    const std::int64_t teacherGroup = b.heads / b.kvHeads;
    const Layout at(tokens, dim);
    const std::int64_t stride = roundUp(tokens, kGemmWidth);
    const std::int64_t kv = unit->firstToken * a.kvStride + unit->kvHead * dim;
    float* teacherKeys = scratch + at.total;
    packTokens(a.k + kv, a.kvStride, tokens, dim, scratch + at.keyColumns);
    float *own = scratch + at.scores, *goal = scratch + at.slopes, *sums = scratch + at.dk;
    if (dq) {
        packDims(a.k + kv, a.kvStride, tokens, dim, scratch + at.keyRows);
        __builtin_memset(sums, 0, static_cast<std::size_t>(tokens * dim) * sizeof(float));
    }
    const F32x16 factor = setF(weight / static_cast<float>(a.heads) * a.scale);
    std::int64_t packed = -1;
    double loss = 0;
    for (std::int64_t head = unit->kvHead * group; head < (unit->kvHead + 1) * group; ++head) {
        if (head / teacherGroup != packed) {
            packed = head / teacherGroup;
            packTokens(b.k + unit->firstToken * b.kvStride + packed * b.headDim, b.kvStride, tokens,
                       b.headDim, teacherKeys);
        }
        for (std::int64_t begin = 0; begin < tokens; begin += kBlock) {
            const std::int64_t rows = tokens - begin < kBlock ? tokens - begin : kBlock;
            const Keys keys = keysOf(a, begin, begin + rows);
            const std::int64_t first = unit->firstToken + begin, count = keys.last - keys.first;
            const float* q = a.q + first * a.qStride + head * dim;
            products(a, q, rows, scratch + at.keyColumns, keys, stride, own, a.qStride);
            products(b, b.q + first * b.qStride + head * b.headDim, rows, teacherKeys, keys, stride,
                     goal, b.qStride);
            for (std::int64_t i = 0; i < rows; ++i) {
                float *row = own + i * stride, *goalRow = goal + i * stride;
                if (scoredTokens[first + i] < 0) {
                    clearOutside(row, count, count, count);
                    continue;
                }
                const Keys seen = visible(a, begin + i);
                const std::int64_t offset = seen.first - keys.first;
                const std::int64_t line = (first + i) * a.heads + head;
                const F32x16 shift = setF(a.logSumExp[line]), goalShift = setF(b.logSumExp[line]);
                F32x16 sum = zeroF();
                eachVector(seen.last - seen.first, [&](std::int64_t j, std::int64_t lanes) {
                    const F32x16 s = scored(a, take(row + offset + j, lanes, 0));
                    const F32x16 logP = sub(s, shift);
                    const F32x16 logGoal =
                        sub(scored(b, take(goalRow + offset + j, lanes, 0)), goalShift);
                    const F32x16 p = exp(logP), pGoal = exp(logGoal);
                    put(goalRow + offset + j, lanes, mul(pGoal, sub(logGoal, logP)));
                    F32x16 ds = mul(sub(p, pGoal), factor);
                    if (a.softcap > 0) {
                        const F32x16 ratio = div(s, setF(a.softcap));
                        ds = mul(ds, sub(setF(1.0F), mul(ratio, ratio)));
                    }
                    put(row + offset + j, lanes, ds);
                    sum = add(sum, take(goalRow + offset + j, lanes, 0));
                });
                loss += static_cast<double>(sumLanes(sum));
                clearOutside(row, offset, seen.last - keys.first, count);
            }
            if (!dq)
                continue;
            const GemmBlock queries = {rows,
                                       dim,
                                       count,
                                       own,
                                       stride,
                                       1,
                                       scratch + at.keyRows + keys.first * kGemmWidth,
                                       tokens * kGemmWidth,
                                       dq + first * a.qStride + head * dim,
                                       a.qStride,
                                       true};
            gemmBlock(&queries);
            packDims(q, a.qStride, rows, dim, scratch + at.block);
            addToKeys(own, stride, keys, rows, scratch + at.block, dim, sums);
        }
    }
    if (dq)
        for (std::int64_t t = 0; t < tokens; ++t)
            addScaled(dk + kv + t * a.kvStride, sums + t * dim, 1.0F, dim);
    return loss;
}

}  // namespace fettle::kernels::FETTLE_SIMD
