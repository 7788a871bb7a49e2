#include "kernels/cuda/train.h"

#include "kernels/cuda/device.cuh"

namespace fettle::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr std::int64_t kMaxBlocks = 65535;  // more work than that is done in turns
constexpr std::int64_t kMaxGridX = 0x7fffffff;
constexpr int kLargestHadamard = 4096;
constexpr int kRowBlock = 64;  // rows whose contributions to a column are added first

unsigned blocksFor(std::int64_t count) {
    const std::int64_t blocks = (count + kThreads - 1) / kThreads;
    return static_cast<unsigned>(blocks < kMaxBlocks ? blocks : kMaxBlocks);
}

template <class Op>
__global__ void __launch_bounds__(kThreads) eachKernel(std::int64_t count, Op op) {
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kThreads;
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count;
         i += step)
        op(i);
}

template <class Op>
Status each(std::int64_t count, Op op, Stream stream) {
    if (count <= 0)
        return kSuccess;
    return launch(eachKernel<Op>, blocksFor(count), kThreads, 0, stream, count, op);
}

struct Value {
    float value, slope;
};

template <Activation Kind>
__device__ __forceinline__ Value activate(float x) {
    if constexpr (Kind == Activation::Silu) {
        const float s = 1.0F / (1.0F + expf(-x));
        return {x * s, s * (1.0F + x * (1.0F - s))};
    } else {
        constexpr float k = 0.797884560802865F, c = 0.044715F;  // sqrt(2 / pi)
        const float t = tanhf(k * (x + c * x * x * x));
        return {0.5F * x * (1.0F + t),
                0.5F * (1.0F + t) + 0.5F * x * (1.0F - t * t) * k * (1.0F + 3.0F * c * x * x)};
    }
}

template <Activation Kind>
struct GatedBackward {
    const float *gate, *up, *dOut;
    float *dGate, *dUp;
    __device__ void operator()(std::int64_t i) const {
        const Value act = activate<Kind>(gate ? gate[i] : up[i]);
        const float d = dOut[i], u = up[i];
        if (gate) {
            dGate[i] = d * u * act.slope;
            dUp[i] = d * act.value;
        } else {
            dUp[i] = d * act.slope;
        }
    }
    template <class Check>
    void forEachPointer(Check check) const {
        check(gate), check(up), check(dOut), check(dGate), check(dUp);
    }
};

struct SoftcapBackward {
    const float* y;
    float cap;
    float* dy;
    __device__ void operator()(std::int64_t i) const {
        const float ratio = y[i] / cap;
        dy[i] *= 1.0F - ratio * ratio;
    }
    template <class Check>
    void forEachPointer(Check check) const {
        check(y), check(dy);
    }
};

struct AddScaled {
    float* y;
    const float* x;
    float factor;
    __device__ void operator()(std::int64_t i) const { y[i] = fmaf(factor, x[i], y[i]); }
    template <class Check>
    void forEachPointer(Check check) const {
        check(y), check(x);
    }
};

template <StoredType Type>
struct CopyRounded {
    const float* x;
    float* y;
    __device__ void operator()(std::int64_t i) const {
        if constexpr (Type == StoredType::F16)
            y[i] = fromHalf(toHalf(x[i]));
        else if constexpr (Type == StoredType::BF16)
            y[i] = bitsToFloat(static_cast<std::uint32_t>(toBfloat(x[i])) << 16);
        else
            y[i] = x[i];
    }
    template <class Check>
    void forEachPointer(Check check) const {
        check(x), check(y);
    }
};

struct ClearMasked {
    float* y;
    const std::uint8_t* zero;
    __device__ void operator()(std::int64_t i) const {
        if (zero[i] != 0)
            y[i] = 0;
    }
    template <class Check>
    void forEachPointer(Check check) const {
        check(y), check(zero);
    }
};

struct AddBias {
    float* y;
    const float* bias;
    std::int64_t cols;
    __device__ void operator()(std::int64_t i) const { y[i] += bias[i % cols]; }
    template <class Check>
    void forEachPointer(Check check) const {
        check(y), check(bias);
    }
};

template <bool Accumulate>
struct GatherRows {
    const float* table;
    std::int64_t cols;
    const std::int32_t* ids;
    float factor;
    float* out;
    __device__ void operator()(std::int64_t i) const {
        const float value = factor * table[ids[i / cols] * cols + i % cols];
        out[i] = Accumulate ? out[i] + value : value;
    }
    template <class Check>
    void forEachPointer(Check check) const {
        check(table), check(ids), check(out);
    }
};

/// Rows [blockIdx.y * kRowBlock, and on) of a column added up.
__global__ void __launch_bounds__(kThreads)
    rowSumsKernel(const float* x, std::int64_t rows, std::int64_t cols, float* partial) {
    const std::int64_t c = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (c >= cols)
        return;
    const std::int64_t begin = static_cast<std::int64_t>(blockIdx.y) * kRowBlock;
    const std::int64_t end = begin + kRowBlock < rows ? begin + kRowBlock : rows;
    float sum = 0;
    for (std::int64_t r = begin; r < end; ++r)
        sum += x[r * cols + c];
    partial[blockIdx.y * cols + c] = sum;
}

__global__ void __launch_bounds__(kThreads)
    addRowSumsKernel(const float* partial, std::int64_t blocks, std::int64_t cols, float* sums) {
    const std::int64_t c = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (c >= cols)
        return;
    float sum = 0;
    for (std::int64_t b = 0; b < blocks; ++b)
        sum += partial[b * cols + c];
    sums[c] += sum;
}

__global__ void __launch_bounds__(kThreads)
    squaresKernel(const float* x, std::int64_t count, double* parts) {
    FETTLE_SHARED(double, partial, kWarps);
    double sum = 0;
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count;
         i += static_cast<std::int64_t>(gridDim.x) * kThreads)
        sum += static_cast<double>(x[i]) * x[i];
    sum = blockSum(sum, partial);
    if (threadIdx.x == 0)
        parts[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads)
    addSquaresKernel(const double* parts, int count, double* sum) {
    FETTLE_SHARED(double, partial, kWarps);
    double mine = 0;
    for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads)
        mine += parts[i];
    mine = blockSum(mine, partial);
    if (threadIdx.x == 0)
        *sum = mine;
}

struct RopeBackward {
    float* dy;
    std::int64_t stride, heads, half;
    const float* cosSin;
    __device__ void operator()(std::int64_t i) const {
        const std::int64_t token = i / (heads * half), pair = i % half;
        const std::int64_t head = i / half % heads;
        float* at = dy + token * stride + head * 2 * half + pair;
        const float c = cosSin[token * 2 * half + pair], s = cosSin[token * 2 * half + half + pair];
        const float a = at[0], b = at[half];
        at[0] = a * c + b * s;
        at[half] = b * c - a * s;
    }
    template <class Check>
    void forEachPointer(Check check) const {
        check(dy), check(cosSin);
    }
};

struct AdamW {
    float* value;
    const float* grad;
    float *m, *v;
    AdamWStep step;
    __device__ void operator()(std::int64_t i) const {
        const float g = grad[i] * step.gradScale;
        m[i] = step.beta1 * m[i] + (1.0F - step.beta1) * g;
        v[i] = step.beta2 * v[i] + (1.0F - step.beta2) * g * g;
        const float move =
            m[i] / step.correction1 / (sqrtf(v[i] / step.correction2) + step.epsilon);
        value[i] -= step.learningRate * (move + step.decay * value[i]);
    }
    template <class Check>
    void forEachPointer(Check check) const {
        check(value), check(grad), check(m), check(v);
    }
};

/// Column blockIdx.y * kThreads + thread of the token blockIdx.x. The first token of an id adds
/// those of all its repetitions, in their order; the others do nothing.
__global__ void __launch_bounds__(kThreads)
    embeddingBackwardKernel(const std::int32_t* ids, std::int64_t tokens, const float* dy,
                            std::int64_t cols, float factor, float* grad) {
    const std::int64_t token = blockIdx.x;
    const std::int64_t c = static_cast<std::int64_t>(blockIdx.y) * kThreads + threadIdx.x;
    const std::int32_t id = ids[token];
    for (std::int64_t t = 0; t < token; ++t)
        if (ids[t] == id)
            return;
    if (c >= cols)
        return;
    float sum = grad[id * cols + c];
    for (std::int64_t t = token; t < tokens; ++t)
        if (ids[t] == id)
            sum = fmaf(factor, dy[t * cols + c], sum);
    grad[id * cols + c] = sum;
}

/// The largest value of a row and the sum of exp((x - largest) / temperature) over it.
struct Softmax {
    float largest;
    double sum;
};

__device__ __forceinline__ Softmax softmaxOf(const float* row, std::int64_t count,
                                             float temperature, SharedPointer<float> maxima,
                                             SharedPointer<double> sums) {
    float largest = -INFINITY;
    for (std::int64_t i = threadIdx.x; i < count; i += kThreads)
        largest = fmaxf(largest, row[i]);
    largest = blockMax(largest, maxima);
    double sum = 0;
    for (std::int64_t i = threadIdx.x; i < count; i += kThreads)
        sum += expf((row[i] - largest) / temperature);
    return {largest, blockSum(sum, sums)};
}

__global__ void __launch_bounds__(kThreads)
    crossEntropyKernel(float* logits, std::int64_t count, const std::int32_t* targets, float scale,
                       double* losses) {
    FETTLE_SHARED(float, maxima, kWarps);
    FETTLE_SHARED(double, sums, kWarps);
    float* row = logits + blockIdx.x * count;
    const std::int32_t target = targets[blockIdx.x];
    const Softmax soft = softmaxOf(row, count, 1.0F, maxima, sums);
    if (target < 0 && threadIdx.x == 0)
        losses[blockIdx.x] = 0;
    const auto inverse = static_cast<float>(1.0 / soft.sum);
    for (std::int64_t i = threadIdx.x; i < count; i += kThreads) {
        const float z = row[i] - soft.largest, p = expf(z) * inverse;
        if (i == target)
            losses[blockIdx.x] = log(soft.sum) - z;
        row[i] = target < 0 ? 0.0F : (p - (i == target ? 1.0F : 0.0F)) * scale;
    }
}

/// A row that is not scored: no loss, no gradient.
__device__ __forceinline__ void leaveUnscored(float* row, std::int64_t count, double* losses) {
    for (std::int64_t i = threadIdx.x; i < count; i += kThreads)
        row[i] = 0;
    if (threadIdx.x == 0)
        losses[blockIdx.x] = 0;
}

__global__ void __launch_bounds__(kThreads)
    distillKernel(float* student, const float* teacher, std::int64_t count,
                  const std::int32_t* targets, float temperature, float scale, double* losses) {
    FETTLE_SHARED(float, studentMaxima, kWarps);
    FETTLE_SHARED(double, studentSums, kWarps);
    FETTLE_SHARED(float, teacherMaxima, kWarps);
    FETTLE_SHARED(double, teacherSums, kWarps);
    FETTLE_SHARED(double, partial, kWarps);
    float* row = student + blockIdx.x * count;
    const float* other = teacher + blockIdx.x * count;
    if (targets && targets[blockIdx.x] < 0)
        return leaveUnscored(row, count, losses);
    const Softmax s = softmaxOf(row, count, temperature, studentMaxima, studentSums);
    const Softmax t = softmaxOf(other, count, temperature, teacherMaxima, teacherSums);
    const double logS = log(s.sum), logT = log(t.sum);
    double loss = 0;
    for (std::int64_t i = threadIdx.x; i < count; i += kThreads) {
        const float zs = (row[i] - s.largest) / temperature;
        const float zt = (other[i] - t.largest) / temperature;
        const auto ps = static_cast<float>(expf(zs) / s.sum);
        const auto pt = static_cast<float>(expf(zt) / t.sum);
        loss += pt * ((zt - logT) - (zs - logS));
        row[i] = temperature * (ps - pt) * scale;
    }
    loss = blockSum(loss, partial);
    if (threadIdx.x == 0)
        losses[blockIdx.x] = loss * temperature * temperature;
}

/// Softmax over the top tokens and the others' log-sum-exp as one more logit is the coarsened
/// distribution: the loss is that of distillKernel on top + 1 tokens.
__global__ void __launch_bounds__(kThreads)
    distillTopKernel(float* student, TopRows teacher, std::int64_t count,
                     const std::int32_t* targets, float temperature, float scale, double* losses) {
    FETTLE_SHARED(float, restMaxima, kWarps);
    FETTLE_SHARED(double, restSums, kWarps);
    FETTLE_SHARED(float, studentMaxima, kWarps);
    FETTLE_SHARED(double, studentSums, kWarps);
    FETTLE_SHARED(float, teacherMaxima, kWarps);
    FETTLE_SHARED(double, teacherSums, kWarps);
    FETTLE_SHARED(double, partial, kWarps);
    const std::int64_t top = teacher.top, entries = top < count ? top + 1 : top;
    float* row = student + blockIdx.x * count;
    float* kept = teacher.scratch + blockIdx.x * (top + 1);
    const std::int32_t* ids = teacher.ids + blockIdx.x * top;
    const float* logits = teacher.logits + blockIdx.x * top;
    if (targets && targets[blockIdx.x] < 0)
        return leaveUnscored(row, count, losses);
    for (std::int64_t i = threadIdx.x; i < top; i += kThreads) {
        kept[i] = row[ids[i]];
        row[ids[i]] = -INFINITY;
    }
    __syncthreads();
    Softmax others = {0, 1};
    if (top < count) {
        others = softmaxOf(row, count, temperature, restMaxima, restSums);
        if (threadIdx.x == 0)
            kept[top] = others.largest + temperature * static_cast<float>(log(others.sum));
    }
    __syncthreads();
    const auto wanted = [&](std::int64_t i) {
        return i < top ? logits[i] : teacher.rest[blockIdx.x];
    };
    const Softmax s = softmaxOf(kept, entries, temperature, studentMaxima, studentSums);
    float largest = -INFINITY;
    for (std::int64_t i = threadIdx.x; i < entries; i += kThreads)
        largest = fmaxf(largest, wanted(i));
    largest = blockMax(largest, teacherMaxima);
    double sum = 0;
    for (std::int64_t i = threadIdx.x; i < entries; i += kThreads)
        sum += expf((wanted(i) - largest) / temperature);
    sum = blockSum(sum, teacherSums);
    const double logS = log(s.sum), logT = log(sum);
    double loss = 0;
    for (std::int64_t i = threadIdx.x; i < entries; i += kThreads) {
        const float zs = (kept[i] - s.largest) / temperature;
        const float zt = (wanted(i) - largest) / temperature;
        const auto ps = static_cast<float>(expf(zs) / s.sum);
        const auto pt = static_cast<float>(expf(zt) / sum);
        loss += pt * ((zt - logT) - (zs - logS));
        kept[i] = temperature * (ps - pt) * scale;
    }
    loss = blockSum(loss, partial);  // its barrier: kept is whole
    if (threadIdx.x == 0)
        losses[blockIdx.x] = loss * temperature * temperature;
    const float share = static_cast<float>(1.0 / others.sum);
    if (top < count)
        for (std::int64_t i = threadIdx.x; i < count; i += kThreads)
            row[i] = expf((row[i] - others.largest) / temperature) * share * kept[top];
    __syncthreads();
    for (std::int64_t i = threadIdx.x; i < top; i += kThreads)
        row[ids[i]] = kept[i];
}

/// Butterflies in shared memory, one block a vector of `size`.
__global__ void __launch_bounds__(kThreads) hadamardKernel(float* x, int size, float factor) {
    FETTLE_DYNAMIC_SHARED(float, values);
    float* at = x + static_cast<std::int64_t>(blockIdx.x) * size;
    for (int i = static_cast<int>(threadIdx.x); i < size; i += kThreads)
        values[i] = at[i];
    for (int width = 1; width < size; width *= 2) {
        __syncthreads();
        for (int i = static_cast<int>(threadIdx.x); i < size / 2; i += kThreads) {
            const int low = i / width * 2 * width + i % width;
            const float a = values[low], b = values[low + width];
            values[low] = a + b;
            values[low + width] = a - b;
        }
    }
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < size; i += kThreads)
        at[i] = values[i] * factor;
}

bool fitsGrid(std::int64_t rows) {
    return rows >= 0 && rows <= kMaxGridX;
}

}  // namespace

Status gatedBackward(Activation activation, const float* gate, const float* up, const float* dOut,
                     std::int64_t count, float* dGate, float* dUp, Stream stream) {
    if (activation == Activation::Silu)
        return each(count, GatedBackward<Activation::Silu>{gate, up, dOut, dGate, dUp}, stream);
    return each(count, GatedBackward<Activation::GeluTanh>{gate, up, dOut, dGate, dUp}, stream);
}

Status softcapBackward(const float* y, float cap, float* dy, std::int64_t count, Stream stream) {
    return each(count, SoftcapBackward{y, cap, dy}, stream);
}

Status addScaled(float* y, const float* x, float factor, std::int64_t count, Stream stream) {
    return each(count, AddScaled{y, x, factor}, stream);
}

Status ropeBackward(float* dy, std::int64_t tokens, std::int64_t stride, std::int64_t heads,
                    std::int64_t headDim, const float* cosSin, Stream stream) {
    if (tokens < 0 || heads < 0 || headDim <= 0 || headDim % 2 != 0)
        return kInvalidValue;
    return each(tokens * heads * (headDim / 2),
                RopeBackward{dy, stride, heads, headDim / 2, cosSin}, stream);
}

Status gatherRows(const float* table, std::int64_t cols, const std::int32_t* ids,
                  std::int64_t tokens, float factor, bool accumulate, float* out, Stream stream) {
    if (tokens < 0 || cols <= 0)
        return kInvalidValue;
    if (accumulate)
        return each(tokens * cols, GatherRows<true>{table, cols, ids, factor, out}, stream);
    return each(tokens * cols, GatherRows<false>{table, cols, ids, factor, out}, stream);
}

Status copyRounded(const float* x, std::int64_t count, StoredType type, float* y, Stream stream) {
    switch (type) {
        case StoredType::F16:
            return each(count, CopyRounded<StoredType::F16>{x, y}, stream);
        case StoredType::BF16:
            return each(count, CopyRounded<StoredType::BF16>{x, y}, stream);
        case StoredType::F32:
            break;
    }
    return each(count, CopyRounded<StoredType::F32>{x, y}, stream);
}

Status clearMasked(float* y, const std::uint8_t* zero, std::int64_t count, Stream stream) {
    return each(count, ClearMasked{y, zero}, stream);
}

Status addBias(float* y, const float* bias, std::int64_t rows, std::int64_t cols, Stream stream) {
    if (rows < 0 || cols <= 0)
        return kInvalidValue;
    return each(rows * cols, AddBias{y, bias, cols}, stream);
}

std::size_t rowSumsWorkspace(std::int64_t rows, std::int64_t cols) {
    return static_cast<std::size_t>((rows + kRowBlock - 1) / kRowBlock * cols);
}

Status addRowSums(const float* x, std::int64_t rows, std::int64_t cols, float* sums,
                  float* workspace, Stream stream) {
    const std::int64_t blocks = (rows + kRowBlock - 1) / kRowBlock;
    if (rows < 0 || blocks > kMaxBlocks || cols <= 0 || cols / kThreads >= kMaxGridX)
        return kInvalidValue;
    if (rows == 0)
        return kSuccess;
    const auto columns = static_cast<unsigned>((cols + kThreads - 1) / kThreads);
    const Status status = launch(rowSumsKernel, dim3(columns, static_cast<unsigned>(blocks)),
                                 kThreads, 0, stream, x, rows, cols, workspace);
    if (status != kSuccess)
        return status;
    return launch(addRowSumsKernel, columns, kThreads, 0, stream, workspace, blocks, cols, sums);
}

Status sumSquares(const float* x, std::int64_t count, double* workspace, double* sum,
                  Stream stream) {
    if (count < 0)
        return kInvalidValue;
    constexpr std::int64_t kEach = 16 * kThreads;  // values of a part, where there are few
    const auto parts =
        static_cast<int>(count / kEach < kSquareParts ? count / kEach + 1 : kSquareParts);
    const Status status = launch(squaresKernel, static_cast<unsigned>(parts), kThreads, 0, stream,
                                 x, count, workspace);
    if (status != kSuccess)
        return status;
    return launch(addSquaresKernel, 1, kThreads, 0, stream, workspace, parts, sum);
}

Status embeddingBackward(const std::int32_t* ids, std::int64_t tokens, const float* dy,
                         std::int64_t cols, float factor, float* grad, Stream stream) {
    const std::int64_t parts = (cols + kThreads - 1) / kThreads;
    if (!fitsGrid(tokens) || cols < 0 || parts > kMaxBlocks)
        return kInvalidValue;
    if (tokens == 0 || cols == 0)
        return kSuccess;
    return launch(embeddingBackwardKernel,
                  dim3(static_cast<unsigned>(tokens), static_cast<unsigned>(parts)), kThreads, 0,
                  stream, ids, tokens, dy, cols, factor, grad);
}

Status crossEntropyRows(float* logits, std::int64_t rows, std::int64_t count,
                        const std::int32_t* targets, float scale, double* losses, Stream stream) {
    if (!fitsGrid(rows) || count <= 0)
        return kInvalidValue;
    if (rows == 0)
        return kSuccess;
    return launch(crossEntropyKernel, static_cast<unsigned>(rows), kThreads, 0, stream, logits,
                  count, targets, scale, losses);
}

Status distillRows(float* student, const float* teacher, std::int64_t rows, std::int64_t count,
                   const std::int32_t* targets, float temperature, float scale, double* losses,
                   Stream stream) {
    if (!fitsGrid(rows) || count <= 0 || !(temperature > 0))
        return kInvalidValue;
    if (rows == 0)
        return kSuccess;
    return launch(distillKernel, static_cast<unsigned>(rows), kThreads, 0, stream, student, teacher,
                  count, targets, temperature, scale, losses);
}

Status distillTopRows(float* student, const TopRows& teacher, std::int64_t rows, std::int64_t count,
                      const std::int32_t* targets, float temperature, float scale, double* losses,
                      Stream stream) {
    if (!fitsGrid(rows) || teacher.top <= 0 || teacher.top > count || !(temperature > 0))
        return kInvalidValue;
    if (rows == 0)
        return kSuccess;
    return launch(distillTopKernel, static_cast<unsigned>(rows), kThreads, 0, stream, student,
                  teacher, count, targets, temperature, scale, losses);
}

Status adamw(float* value, const float* grad, float* m, float* v, const AdamWStep& step,
             Stream stream) {
    return each(step.count, AdamW{value, grad, m, v, step}, stream);
}

Status hadamard(float* x, std::int64_t count, std::int64_t size, Stream stream) {
    if (size < kWarp || size > kLargestHadamard || (size & (size - 1)) != 0 || count < 0 ||
        count % size != 0 || !fitsGrid(count / size))
        return kInvalidValue;
    if (count == 0)
        return kSuccess;
    return launch(hadamardKernel, static_cast<unsigned>(count / size), kThreads,
                  static_cast<std::size_t>(size) * sizeof(float), stream, x, static_cast<int>(size),
                  1.0F / sqrtf(static_cast<float>(size)));
}

}  // namespace fettle::kernels::cuda
