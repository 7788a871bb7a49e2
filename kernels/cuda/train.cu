#include "kernels/cuda/train.h"

#include "kernels/cuda/device.cuh"

namespace fettle::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr std::int64_t kMaxBlocks = 65535;  // more work than that is done in turns
constexpr std::int64_t kMaxGridX = 0x7fffffff;
constexpr int kLargestHadamard = 4096;

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

__global__ void __launch_bounds__(kThreads)
    distillKernel(float* student, const float* teacher, std::int64_t count, float temperature,
                  float scale, double* losses) {
    FETTLE_SHARED(float, studentMaxima, kWarps);
    FETTLE_SHARED(double, studentSums, kWarps);
    FETTLE_SHARED(float, teacherMaxima, kWarps);
    FETTLE_SHARED(double, teacherSums, kWarps);
    FETTLE_SHARED(double, partial, kWarps);
    float* row = student + blockIdx.x * count;
    const float* other = teacher + blockIdx.x * count;
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

struct Code {
    float exact, clamped;  // x / s, and the code it is rounded to
    bool inside;
};

__device__ __forceinline__ Code codeOf(float x, float scale, float lowest, float highest) {
    const float exact = x / scale;
    return {exact, fminf(fmaxf(rintf(exact), lowest), highest),
            exact >= lowest && exact <= highest};
}

struct FakeQuantize {
    const float *x, *scales;
    std::int64_t group;
    float lowest, highest;
    float* y;
    __device__ void operator()(std::int64_t i) const {
        const float scale = scales[i / group];
        y[i] = codeOf(x[i], scale, lowest, highest).clamped * scale;
    }
    template <class Check>
    void forEachPointer(Check check) const {
        check(x), check(scales), check(y);
    }
};

/// One warp a group.
__global__ void __launch_bounds__(kThreads)
    fakeQuantizeBackwardKernel(FakeQuantize f, const float* dy, std::int64_t groups, float* dx,
                               float* dScales) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    const std::int64_t group = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
    if (group >= groups)
        return;  // the whole warp
    const float scale = f.scales[group];
    float sum = 0;
    for (std::int64_t i = group * f.group + lane; i < (group + 1) * f.group; i += kWarp) {
        const Code code = codeOf(f.x[i], scale, f.lowest, f.highest);
        // Beyond the range only a gradient that leads back into it may pass.
        dx[i] = code.inside             ? dy[i]
                : code.exact < f.lowest ? fminf(dy[i], 0.0F)
                                        : fmaxf(dy[i], 0.0F);
        sum += dy[i] * (code.inside ? code.clamped - code.exact : code.clamped);
    }
    sum = warpSum(sum);
    if (lane == 0)
        dScales[group] = sum;
}

bool fitsGrid(std::int64_t rows) {
    return rows >= 0 && rows <= kMaxGridX;
}

bool isGrouping(std::int64_t count, std::int64_t group) {
    return count >= 0 && group > 0 && group % kWarp == 0 && count % group == 0;
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
                   float temperature, float scale, double* losses, Stream stream) {
    if (!fitsGrid(rows) || count <= 0 || !(temperature > 0))
        return kInvalidValue;
    if (rows == 0)
        return kSuccess;
    return launch(distillKernel, static_cast<unsigned>(rows), kThreads, 0, stream, student, teacher,
                  count, temperature, scale, losses);
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

Status fakeQuantize(const float* x, const float* scales, std::int64_t count, std::int64_t group,
                    int lowest, int highest, float* y, Stream stream) {
    if (!isGrouping(count, group))
        return kInvalidValue;
    return each(
        count,
        FakeQuantize{x, scales, group, static_cast<float>(lowest), static_cast<float>(highest), y},
        stream);
}

Status fakeQuantizeBackward(const float* x, const float* scales, const float* dy,
                            std::int64_t count, std::int64_t group, int lowest, int highest,
                            float* dx, float* dScales, Stream stream) {
    if (!isGrouping(count, group) || !fitsGrid(count / group / kWarps + 1))
        return kInvalidValue;
    if (count == 0)
        return kSuccess;
    const std::int64_t groups = count / group;
    return launch(fakeQuantizeBackwardKernel, static_cast<unsigned>((groups + kWarps - 1) / kWarps),
                  kThreads, 0, stream,
                  FakeQuantize{x, scales, group, static_cast<float>(lowest),
                               static_cast<float>(highest), nullptr},
                  dy, groups, dx, dScales);
}

}  // namespace fettle::kernels::cuda
