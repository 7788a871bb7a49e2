#include "kernels/ops/matmul.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <functional>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/kernel_table.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace fettle::kernels {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::int64_t kRowTile = 12;    // a multiple of every kernel's register tile
constexpr std::int64_t kRowBlock = 384;  // rows that share one unpacking of the weights
// Up to here memory speed decides and panels are shared out in long runs.
constexpr std::int64_t kDirectRows = 8, kDirectTileRows = 16;
constexpr std::int64_t kChunkBytes =
    64 * 1024;  // weights per piece of work when memory speed decides, at least

// What is less than that per thread is cut no finer than the threads are many: every piece more is
// a trip of the counter between them.
constexpr std::int64_t kSharedBytes = 256 * 1024;
// Outputs that are looked through as soon as they are made: with the activations they stay in the
// first-level cache.
constexpr std::int64_t kLookedThrough = 16 * 1024;

/// Large weights ask for huge pages: decoding walks all of them for every token.
std::byte* allocate(std::size_t bytes) {
    const std::size_t alignment = bytes >= 2 * kHugePage ? kHugePage : 64;
    const std::size_t size = (bytes + alignment - 1) / alignment * alignment;
    void* p = std::aligned_alloc(alignment, size);
    if (!p)
        throw std::bad_alloc();
#if defined(__linux__)
    if (alignment == kHugePage)
        madvise(p, size, MADV_HUGEPAGE);
#endif
    return static_cast<std::byte*>(p);
}

struct FreeScratch {
    void operator()(void* p) const { std::free(p); }
};

void* threadScratch() {
    thread_local const std::unique_ptr<void, FreeScratch> memory(
        std::aligned_alloc(64, kMatmulScratch));
    if (!memory)
        throw std::bad_alloc();
    return memory.get();
}

/// The same product for rows [first, first + count) of the activations.
MatmulArgs rowsOf(const MatmulArgs& all, std::int64_t first, std::int64_t count) {
    MatmulArgs a = all;
    a.m = count;
    a.y += first * a.yStride;
    if (a.pairs) {
        a.pairs += first * a.pairStride;  // a whole number of blocks, where tiles share rows
        return a;
    }
    if (a.x) {
        a.x += first * a.xStride;
        return a;
    }
    a.ints.codes += first * a.ints.codeStride;
    a.ints.scales += first;
    a.ints.weightedSums += first;
    a.ints.sums += first;
    a.ints.starts += first;
    return a;
}

void check(const PackedWeight& w, const Activations& x, std::int64_t yStride) {
    if (w.empty())
        throw std::invalid_argument("matmul: the weight is empty");
    if (x.cols() != w.cols() || (x.rows() > 1 && yStride < w.rows()))
        throw std::invalid_argument("matmul: activations [" + std::to_string(x.rows()) + ", " +
                                    std::to_string(x.cols()) + "] and weight [" +
                                    std::to_string(w.rows()) + ", " + std::to_string(w.cols()) +
                                    "] do not fit, output stride " + std::to_string(yStride));
}

}  // namespace

void PackedWeight::Free::operator()(std::byte* p) const {
    std::free(p);
}

PackedWeight PackedWeight::pack(const WeightView& weight, WorkerPool& pool, Products products) {
    if (products == Products::BFloat16 && !hasBf16Products())
        throw std::invalid_argument("PackedWeight: this processor has no products of bfloat16");
    PackedWeight p;
    p.m_layout = packedLayout(weight);
    const bool bfloat16 =
        weight.format == WeightFormat::BF16 && p.m_layout.activations == ActivationFormat::None;
    p.m_layout.roundsInputs = bfloat16 && products == Products::BFloat16;
    if (bfloat16 && weight.cols % kGroupValues == 0) {
        p.m_layout.tileParts = p.m_layout.roundsInputs ? 1 : 3;
        p.m_layout.tileRows = p.m_layout.roundsInputs ? 32 : 16;
    }
    p.m_format = weight.format;
    p.m_rows = weight.rows;
    p.m_cols = weight.cols;
    p.m_bytes = static_cast<std::size_t>(p.m_layout.panels) * p.m_layout.panelBytes;
    p.m_data.reset(allocate(std::max<std::size_t>(p.m_bytes, 64)));
    const auto body = [&](std::int64_t begin, std::int64_t end, int) {
        packPanels(weight, p.m_layout, begin, end, p.m_data.get());
    };
    pool.parallelFor(p.m_layout.panels, 4, std::ref(body));
    return p;
}

namespace {

/// Whether AMX's tiles compute the product; they read the same panels as the other kernels.
bool onTiles(const PackedLayout& layout) {
    return layout.tileParts > 0 && hasBf16Tiles();
}

/// One product of a call: what its kernel gets.
struct Product {
    MatmulArgs args;
    WeightFormat format;
    bool tiles;

    void panels(const MatmulArgs& part, std::int64_t begin, std::int64_t end) const {
        const PackedLayout& layout = *args.layout;
        if (tiles)
            tileKernels().panels(&part, begin, end, threadScratch());
        else if (layout.roundsInputs)
            bfloat16Kernels().panels(&part, begin, end);
        else if (layout.groups == 0)
            kernels().plainPanels(&part, format, begin, end, threadScratch());
        else
            kernels().intPanels(&part, begin, end, threadScratch());
    }
};

/// Fills `product` in place: what is put together elsewhere and copied here would wait for all
/// stores before it, those of the other threads' cache lines among them.
void prepare(const MatmulTarget& target, Activations& x, WorkerPool& pool, Product& product) {
    const PackedWeight& w = *target.weight;
    check(w, x, target.yStride);
    const PackedLayout& layout = w.layout();
    product.format = w.format();
    product.tiles = onTiles(layout);
    MatmulArgs& args = product.args;
    args.weight = reinterpret_cast<const std::uint8_t*>(w.data());
    args.layout = &layout;
    args.m = x.rows();
    args.y = target.y;
    args.yStride = target.yStride;
    args.bias = target.bias;
    args.accumulate = target.accumulate;
    args.x = nullptr;
    args.pairs = nullptr;
    if (product.tiles) {
        args.pairs = x.tileRows(layout, pool);
        args.pairStride = layout.tileParts * (x.cols() / 2);
    } else if (layout.roundsInputs) {
        args.pairs = x.bfloat16Pairs(pool);
        args.pairStride = (x.cols() + 1) / 2;
    } else if (layout.groups > 0) {
        const Activations::Quantized& q = x.startsFor(layout, pool);
        args.ints.codes = q.codes.data();
        args.ints.codeStride = q.codeStride;
        args.ints.scales = q.scales.data();
        args.ints.weightedSums = q.weightedSums.data();
        args.ints.sums = q.sums.data();
        args.ints.starts = q.starts.data();
        args.ints.stride = x.rows();
    } else if (layout.activations != ActivationFormat::None) {
        args.x = x.roundedToFp8(layout.activations, pool);
        args.xStride = x.cols();
    } else {
        args.x = x.data();
        args.xStride = x.stride();
    }
}

/// Whether a second weight reads the activations in the form that the first one does: another form
/// would be made where the first one's lies.
bool sameInputs(const PackedLayout& a, const PackedLayout& b) {
    return a.roundsInputs == b.roundsInputs && a.tileParts == b.tileParts &&
           a.activations == b.activations && a.scales == b.scales && a.zero == b.zero &&
           (a.groups == 0) == (b.groups == 0) && a.inputGlobalScale == b.inputGlobalScale;
}

std::int64_t foursOf(const PackedLayout& layout) {
    return (layout.panels + 3) / 4;
}

std::int64_t bytesOf(const PackedLayout& layout) {
    return static_cast<std::int64_t>(layout.panelBytes) * layout.panels;
}

/// Into how many pieces of equal size weights of `bytes` are cut: as many as make a multiple of the
/// threads, none of them too small to be worth handing over.
std::int64_t piecesOf(std::int64_t bytes, const WorkerPool& pool) {
    const auto threads = static_cast<std::int64_t>(pool.threads());
    const std::int64_t worth = bytes / kChunkBytes, most = 4 * threads;
    const std::int64_t large = bytes / kSharedBytes / threads * threads;
    return worth < threads ? 1 : std::clamp(large, threads, most);
}

/// Few rows: pieces over all weights, of whole fours of panels, which kernels take together.
void fewRows(std::span<const Product> products, WorkerPool& pool) {
    std::int64_t bytes = 0, fours = 0;
    for (const Product& p : products) {
        bytes += bytesOf(*p.args.layout);
        fours += foursOf(*p.args.layout);
    }
    const std::int64_t pieces = piecesOf(bytes, pool);
    const auto body = [&](std::int64_t begin, std::int64_t end, int) {
        std::int64_t first = 0;  // four of this product
        for (const Product& p : products) {
            const std::int64_t last = first + foursOf(*p.args.layout);
            const std::int64_t from = std::max(begin, first), to = std::min(end, last);
            if (from < to)
                p.panels(p.args, 4 * (from - first),
                         std::min(4 * (to - first), p.args.layout->panels));
            first = last;
        }
    };
    pool.parallelFor(fours, (fours + pieces - 1) / pieces, std::ref(body));
}

bool isFew(const Activations& x, const PackedLayout& layout) {
    return x.rows() <= (onTiles(layout) ? kDirectTileRows : kDirectRows);
}

/// Pairs of panels x blocks of rows; with few panels the blocks get smaller until every thread has
/// some.
void manyRows(const Product& product, WorkerPool& pool) {
    const MatmulArgs& args = product.args;
    const auto threads = static_cast<std::int64_t>(pool.threads());
    const std::int64_t panels = args.layout->panels, pairs = (panels + 1) / 2;
    const std::int64_t wanted = std::max<std::int64_t>(1, (4 * threads + pairs - 1) / pairs);
    const std::int64_t even = (args.m + wanted - 1) / wanted;
    const std::int64_t tile = product.tiles ? args.layout->tileRows : kRowTile;
    const std::int64_t rows = std::min(kRowBlock, (even + tile - 1) / tile * tile);
    const std::int64_t blocks = (args.m + rows - 1) / rows;
    const auto body = [&](std::int64_t begin, std::int64_t end, int) {
        while (begin < end) {
            const std::int64_t block = begin / pairs, first = begin % pairs;
            const std::int64_t last = std::min(pairs, first + end - begin);
            const MatmulArgs part =
                rowsOf(args, block * rows, std::min(rows, args.m - block * rows));
            product.panels(part, 2 * first, std::min(2 * last, panels));
            begin += last - first;
        }
    };
    pool.parallelFor(pairs * blocks, std::max<std::int64_t>(1, pairs * blocks / (threads * 16)),
                     std::ref(body));
}

struct Largest {
    float value = -std::numeric_limits<float>::infinity();
    std::int64_t column = std::numeric_limits<std::int64_t>::max();

    bool isBefore(const Largest& other) const {
        return value > other.value || (value == other.value && column < other.column);
    }
};

/// Panels [begin, end) of all rows, some at a time; the largest value of each row so far is in
/// `best`.
void findLargest(const Product& product, std::int64_t begin, std::int64_t end, float softcap,
                 std::span<Largest> best) {
    thread_local std::vector<float> outputs;
    const PackedLayout& layout = *product.args.layout;
    const auto m = static_cast<std::int64_t>(best.size());
    const std::int64_t rowBytes = kPanelRows * static_cast<std::int64_t>(sizeof(float));
    const std::int64_t together = std::max<std::int64_t>(4, kLookedThrough / rowBytes / m / 4 * 4);
    outputs.resize(static_cast<std::size_t>(m * together * kPanelRows));
    for (std::int64_t panel = begin; panel < end; panel += together) {
        const std::int64_t count = std::min(together, end - panel), first = panel * kPanelRows;
        PackedLayout rest = layout;  // from this panel on
        rest.rows -= first;
        rest.panels -= panel;
        MatmulArgs part = product.args;
        part.layout = &rest;
        part.weight += panel * static_cast<std::int64_t>(layout.panelBytes);
        part.bias += part.bias ? first : 0;
        part.y = outputs.data();
        part.yStride = together * kPanelRows;
        product.panels(part, 0, count);
        const std::int64_t columns = std::min(count * kPanelRows, rest.rows);
        for (std::int64_t i = 0; i < m; ++i) {
            float* y = outputs.data() + i * part.yStride;
            if (softcap > 0)
                kernels().softcap(y, softcap, columns);
            const Largest here = {kernels().maximum(y, columns), first};
            // Where it lies is of interest only if it may be the one.
            if (here.isBefore(best[static_cast<std::size_t>(i)]))
                best[static_cast<std::size_t>(i)] = {here.value,
                                                     first + kernels().argmax(y, columns)};
        }
    }
}

}  // namespace

void matmul(std::span<const MatmulTarget> targets, Activations& x, WorkerPool& pool) {
    constexpr std::size_t kMostTogether = 4;
    while (!targets.empty()) {
        std::array<Product, kMostTogether> products;  // filled as far as `count`
        std::size_t count = 0;
        const PackedLayout& layout = targets[0].weight->layout();
        const bool few = isFew(x, layout);
        do {
            prepare(targets[count], x, pool, products[count]);
            ++count;
        } while (few && count < std::min(targets.size(), kMostTogether) &&
                 sameInputs(layout, targets[count].weight->layout()));
        if (few)
            fewRows(std::span(products).first(count), pool);
        else
            manyRows(products[0], pool);
        targets = targets.subspan(count);
    }
}

void matmul(const PackedWeight& w, Activations& x, float* y, std::int64_t yStride,
            const float* bias, bool accumulate, WorkerPool& pool) {
    const MatmulTarget target = {&w, y, yStride, bias, accumulate};
    matmul(std::span(&target, 1), x, pool);
}

void matmulArgmax(const PackedWeight& w, Activations& x, const float* bias, float softcap,
                  WorkerPool& pool, std::int64_t* out) {
    Product product;
    prepare({&w, nullptr, w.rows(), bias, false}, x, pool, product);
    const MatmulArgs all = product.args;
    for (std::int64_t row = 0; row < x.rows(); row += kRowBlock) {
        const std::int64_t m = std::min(kRowBlock, x.rows() - row);
        product.args = rowsOf(all, row, m);
        // A thread's own begin on a cache line of their own.
        const std::int64_t stride = (m + 7) / 4 * 4;
        std::vector<Largest> best(static_cast<std::size_t>(pool.threads() * stride));
        const auto body = [&](std::int64_t begin, std::int64_t end, int thread) {
            findLargest(product, 4 * begin, std::min(4 * end, w.layout().panels), softcap,
                        std::span(best).subspan(static_cast<std::size_t>(thread * stride),
                                                static_cast<std::size_t>(m)));
        };
        const std::int64_t fours = foursOf(w.layout());
        const std::int64_t pieces = piecesOf(bytesOf(w.layout()), pool);
        pool.parallelFor(fours, (fours + pieces - 1) / pieces, std::ref(body));
        for (std::int64_t i = 0; i < m; ++i) {
            Largest largest;
            for (std::int64_t at = i; at < static_cast<std::int64_t>(best.size()); at += stride)
                if (best[static_cast<std::size_t>(at)].isBefore(largest))
                    largest = best[static_cast<std::size_t>(at)];
            // Of nothing but NaN it is the first, as argmax() has it.
            out[row + i] = largest.column < w.rows() ? largest.column : 0;
        }
    }
}

}  // namespace fettle::kernels
