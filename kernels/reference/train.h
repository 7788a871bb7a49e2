// Plain twins of the ops of training, templated on the scalar: in double they are what finite
// differences are taken of and what the fast kernels are compared with. Never tuned.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace fettle::kernels::reference {

template <class T>
void rmsNormBackward(const T* x, const T* dy, const T* w, T offset, T eps, std::int64_t rows,
                     std::int64_t cols, T* dx, T* dw) {
    for (std::int64_t r = 0; r < rows; ++r, x += cols, dy += cols, dx += cols) {
        T squares = 0, products = 0;
        for (std::int64_t i = 0; i < cols; ++i) {
            squares += x[i] * x[i];
            products += dy[i] * (w[i] + offset) * x[i];
        }
        const T inverse = 1 / std::sqrt(squares / static_cast<T>(cols) + eps);
        for (std::int64_t i = 0; i < cols; ++i) {
            dw[i] += dy[i] * x[i] * inverse;
            dx[i] = inverse * (dy[i] * (w[i] + offset) -
                               x[i] * inverse * inverse * products / static_cast<T>(cols));
        }
    }
}

template <class T>
void rmsNormForward(const T* x, const T* w, T offset, T eps, std::int64_t rows, std::int64_t cols,
                    T* y) {
    for (std::int64_t r = 0; r < rows; ++r, x += cols, y += cols) {
        T squares = 0;
        for (std::int64_t i = 0; i < cols; ++i)
            squares += x[i] * x[i];
        for (std::int64_t i = 0; i < cols; ++i)
            y[i] = x[i] / std::sqrt(squares / static_cast<T>(cols) + eps) * (w[i] + offset);
    }
}

template <class T>
void layerNormForward(const T* x, const T* w, const T* b, T eps, std::int64_t rows,
                      std::int64_t cols, T* y) {
    for (std::int64_t r = 0; r < rows; ++r, x += cols, y += cols) {
        T mean = 0, variance = 0;
        for (std::int64_t i = 0; i < cols; ++i)
            mean += x[i] / static_cast<T>(cols);
        for (std::int64_t i = 0; i < cols; ++i)
            variance += (x[i] - mean) * (x[i] - mean) / static_cast<T>(cols);
        for (std::int64_t i = 0; i < cols; ++i)
            y[i] = (x[i] - mean) / std::sqrt(variance + eps) * w[i] + b[i];
    }
}

template <class T>
void layerNormBackward(const T* x, const T* dy, const T* w, T eps, std::int64_t rows,
                       std::int64_t cols, T* dx, T* dw, T* db) {
    for (std::int64_t r = 0; r < rows; ++r, x += cols, dy += cols, dx += cols) {
        const T n = static_cast<T>(cols);
        T mean = 0, variance = 0, slope = 0, product = 0;
        for (std::int64_t i = 0; i < cols; ++i)
            mean += x[i] / n;
        for (std::int64_t i = 0; i < cols; ++i)
            variance += (x[i] - mean) * (x[i] - mean) / n;
        const T inverse = 1 / std::sqrt(variance + eps);
        for (std::int64_t i = 0; i < cols; ++i) {
            slope += dy[i] * w[i] / n;
            product += dy[i] * w[i] * (x[i] - mean) * inverse / n;
        }
        for (std::int64_t i = 0; i < cols; ++i) {
            const T h = (x[i] - mean) * inverse;
            dw[i] += dy[i] * h;
            db[i] += dy[i];
            dx[i] = inverse * (dy[i] * w[i] - slope - h * product);
        }
    }
}

/// silu, or gelu in its tanh form, and the derivative.
template <class T>
T activation(bool silu, T x) {
    if (silu)
        return x / (1 + std::exp(-x));
    return x / 2 * (1 + std::tanh(T(0.7978845608028654) * (x + T(0.044715) * x * x * x)));
}
template <class T>
T activationSlope(bool silu, T x) {
    if (silu) {
        const T s = 1 / (1 + std::exp(-x));
        return s * (1 + x * (1 - s));
    }
    const T k = T(0.7978845608028654);
    const T t = std::tanh(k * (x + T(0.044715) * x * x * x));
    return (1 + t) / 2 + x / 2 * (1 - t * t) * k * (1 + 3 * T(0.044715) * x * x);
}

struct AttentionShape {
    std::int64_t tokens, heads, kvHeads, headDim, window;
    double scale, softcap;
};

/// One sequence: q [tokens, heads, headDim], k, v [tokens, kvHeads, headDim].
template <class T>
void attentionForward(const AttentionShape& a, const T* q, const T* k, const T* v, T* out,
                      std::vector<T>* probabilities = nullptr, std::vector<T>* scores = nullptr) {
    if (probabilities)
        probabilities->assign(static_cast<std::size_t>(a.heads * a.tokens * a.tokens), T(0));
    if (scores)
        scores->assign(static_cast<std::size_t>(a.heads * a.tokens * a.tokens), T(0));
    for (std::int64_t h = 0; h < a.heads; ++h)
        for (std::int64_t t = 0; t < a.tokens; ++t) {
            const std::int64_t kv = h / (a.heads / a.kvHeads);
            const std::int64_t first =
                a.window > 0 ? std::max<std::int64_t>(0, t - a.window + 1) : 0;
            std::vector<T> p(static_cast<std::size_t>(t + 1));
            T maximum = -HUGE_VAL, sum = 0;
            for (std::int64_t j = first; j <= t; ++j) {
                T s = 0;
                for (std::int64_t d = 0; d < a.headDim; ++d)
                    s += q[(t * a.heads + h) * a.headDim + d] *
                         k[(j * a.kvHeads + kv) * a.headDim + d];
                s *= static_cast<T>(a.scale);
                if (a.softcap > 0)
                    s = static_cast<T>(a.softcap) * std::tanh(s / static_cast<T>(a.softcap));
                if (scores)
                    (*scores)[static_cast<std::size_t>((h * a.tokens + t) * a.tokens + j)] = s;
                p[static_cast<std::size_t>(j)] = s;
                maximum = std::max(maximum, s);
            }
            for (std::int64_t j = first; j <= t; ++j)
                sum += p[static_cast<std::size_t>(j)] =
                    std::exp(p[static_cast<std::size_t>(j)] - maximum);
            for (std::int64_t d = 0; d < a.headDim; ++d) {
                T mean = 0;
                for (std::int64_t j = first; j <= t; ++j)
                    mean += p[static_cast<std::size_t>(j)] / sum *
                            v[(j * a.kvHeads + kv) * a.headDim + d];
                out[(t * a.heads + h) * a.headDim + d] = mean;
            }
            if (probabilities)
                for (std::int64_t j = first; j <= t; ++j)
                    (*probabilities)[static_cast<std::size_t>((h * a.tokens + t) * a.tokens + j)] =
                        p[static_cast<std::size_t>(j)] / sum;
        }
}

/// Gradients are added to dq, dk, dv.
template <class T>
void attentionBackward(const AttentionShape& a, const T* q, const T* k, const T* v, const T* dOut,
                       T* dq, T* dk, T* dv) {
    std::vector<T> out(static_cast<std::size_t>(a.tokens * a.heads * a.headDim)), p, s;
    attentionForward(a, q, k, v, out.data(), &p, &s);
    for (std::int64_t h = 0; h < a.heads; ++h)
        for (std::int64_t t = 0; t < a.tokens; ++t) {
            const std::int64_t kv = h / (a.heads / a.kvHeads);
            const std::int64_t qAt = (t * a.heads + h) * a.headDim;
            T delta = 0;
            for (std::int64_t d = 0; d < a.headDim; ++d)
                delta += out[static_cast<std::size_t>(qAt + d)] * dOut[qAt + d];
            for (std::int64_t j = 0; j <= t; ++j) {
                const auto at = static_cast<std::size_t>((h * a.tokens + t) * a.tokens + j);
                const std::int64_t kAt = (j * a.kvHeads + kv) * a.headDim;
                T dp = 0;
                for (std::int64_t d = 0; d < a.headDim; ++d) {
                    dp += dOut[qAt + d] * v[kAt + d];
                    dv[kAt + d] += p[at] * dOut[qAt + d];
                }
                T ds = p[at] * (dp - delta) * static_cast<T>(a.scale);
                if (a.softcap > 0) {
                    const T ratio = s[at] / static_cast<T>(a.softcap);
                    ds *= 1 - ratio * ratio;
                }
                for (std::int64_t d = 0; d < a.headDim; ++d) {
                    dq[qAt + d] += ds * k[kAt + d];
                    dk[kAt + d] += ds * q[qAt + d];
                }
            }
        }
}

/// Sum over the tokens with scored[t] of KL(teacher's distribution || student's), mean over heads;
/// its gradient is added to dq and dk. Heads and window of `a` and `b` are the same.
template <class T>
T attentionMatch(const AttentionShape& a, const T* q, const T* k, const AttentionShape& b,
                 const T* teacherQ, const T* teacherK, const std::vector<bool>& scored, T* dq,
                 T* dk) {
    // Outputs do not matter, so keys stand in for values.
    std::vector<T> out(
        static_cast<std::size_t>(a.tokens * a.heads * std::max(a.headDim, b.headDim)));
    std::vector<T> p, s, goal;
    attentionForward(a, q, k, k, out.data(), &p, &s);
    attentionForward(b, teacherQ, teacherK, teacherK, out.data(), &goal);
    T loss = 0;
    for (std::int64_t h = 0; h < a.heads; ++h)
        for (std::int64_t t = 0; t < a.tokens; ++t)
            for (std::int64_t j = 0; scored[static_cast<std::size_t>(t)] && j <= t; ++j) {
                const auto at = static_cast<std::size_t>((h * a.tokens + t) * a.tokens + j);
                if (goal[at] > 0)
                    loss += goal[at] * std::log(goal[at] / p[at]) / T(a.heads);
                T ds = (p[at] - goal[at]) * static_cast<T>(a.scale) / T(a.heads);
                if (a.softcap > 0) {
                    const T ratio = s[at] / static_cast<T>(a.softcap);
                    ds *= 1 - ratio * ratio;
                }
                const std::int64_t qAt = (t * a.heads + h) * a.headDim;
                const std::int64_t kAt = (j * a.kvHeads + h / (a.heads / a.kvHeads)) * a.headDim;
                for (std::int64_t d = 0; d < a.headDim; ++d) {
                    dq[qAt + d] += ds * k[kAt + d];
                    dk[kAt + d] += ds * q[qAt + d];
                }
            }
    return loss;
}

/// softmax(logits / temperature)
template <class T>
std::vector<T> softmax(const T* logits, std::int64_t count, T temperature) {
    std::vector<T> p(logits, logits + count);
    const T maximum = *std::max_element(p.begin(), p.end());
    T sum = 0;
    for (T& v : p)
        sum += v = std::exp((v - maximum) / temperature);
    for (T& v : p)
        v /= sum;
    return p;
}

/// The loss; gradient (softmax - onehot) to dz.
template <class T>
T crossEntropy(const T* logits, std::int64_t count, std::int64_t target, T* dz) {
    const std::vector<T> p = softmax(logits, count, T(1));
    for (std::int64_t i = 0; i < count; ++i)
        dz[i] = p[static_cast<std::size_t>(i)] - (i == target ? 1 : 0);
    return -std::log(p[static_cast<std::size_t>(target)]);
}

/// T^2 KL(teacher || student); gradient to dz.
template <class T>
T distill(const T* student, const T* teacher, std::int64_t count, T temperature, T* dz) {
    const std::vector<T> ps = softmax(student, count, temperature);
    const std::vector<T> pt = softmax(teacher, count, temperature);
    T loss = 0;
    for (std::size_t i = 0; i < ps.size(); ++i) {
        loss += pt[i] > 0 ? pt[i] * std::log(pt[i] / ps[i]) : 0;
        dz[i] = temperature * (ps[i] - pt[i]);
    }
    return loss * temperature * temperature;
}

/// distill of both distributions coarsened to the tokens `ids` [top] and all others together;
/// `teacher` holds all its logits.
template <class T>
T distillTop(const T* student, const T* teacher, std::int64_t count, const std::int32_t* ids,
             std::int64_t top, T temperature, T* dz) {
    const std::vector<T> ps = softmax(student, count, temperature);
    const std::vector<T> pt = softmax(teacher, count, temperature);
    std::vector<bool> known(ps.size(), false);
    for (std::int64_t i = 0; i < top; ++i)
        known[static_cast<std::size_t>(ids[i])] = true;
    T loss = 0, othersS = 0, othersT = 0;
    for (std::size_t i = 0; i < ps.size(); ++i) {
        if (known[i]) {
            loss += pt[i] > 0 ? pt[i] * std::log(pt[i] / ps[i]) : 0;
            dz[i] = temperature * (ps[i] - pt[i]);
        } else {
            othersS += ps[i];
            othersT += pt[i];
        }
    }
    loss += othersT > 0 ? othersT * std::log(othersT / othersS) : 0;
    for (std::size_t i = 0; i < ps.size(); ++i)
        if (!known[i])
            dz[i] = temperature * ps[i] / othersS * (othersS - othersT);
    return loss * temperature * temperature;
}

/// One step on one value. Loshchilov & Hutter 2019, algorithm 2.
template <class T>
void adamw(T& value, T grad, T& m, T& v, T rate, T beta1, T beta2, T epsilon, T decay, int step) {
    m = beta1 * m + (1 - beta1) * grad;
    v = beta2 * v + (1 - beta2) * grad * grad;
    value -= rate * (m / (1 - std::pow(beta1, T(step))) /
                         (std::sqrt(v / (1 - std::pow(beta2, T(step)))) + epsilon) +
                     decay * value);
}

}  // namespace fettle::kernels::reference
