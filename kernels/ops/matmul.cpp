#include "kernels/ops/matmul.h"

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <new>
#include <stdexcept>
#include <string>

#include "kernels/cpu/kernel_table.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace fettle::kernels {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::int64_t kRowTile = 12;    // a multiple of every kernel's register tile
constexpr std::int64_t kRowBlock = 384;  // rows that share one unpacking of the weights
constexpr std::int64_t kDirectRows =
    8;  // up to here memory speed decides and panels are shared out in long runs
constexpr std::int64_t kChunkBytes =
    64 * 1024;  // weights per piece of work when memory speed decides, at least

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

PackedWeight PackedWeight::pack(const WeightView& weight, WorkerPool& pool) {
    PackedWeight p;
    p.m_layout = packedLayout(weight);
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

void matmul(const PackedWeight& w, Activations& x, float* y, std::int64_t yStride,
            const float* bias, bool accumulate, WorkerPool& pool) {
    check(w, x, yStride);
    const PackedLayout& layout = w.layout();
    MatmulArgs args = {};
    args.weight = reinterpret_cast<const std::uint8_t*>(w.data());
    args.layout = &layout;
    args.m = x.rows();
    args.y = y;
    args.yStride = yStride;
    args.bias = bias;
    args.accumulate = accumulate;
    const bool plain = layout.groups == 0;
    if (plain && layout.activations != ActivationFormat::None) {
        args.x = x.roundedToFp8(layout.activations, pool);
        args.xStride = x.cols();
    } else if (plain) {
        args.x = x.data();
        args.xStride = x.stride();
    } else {
        const Activations::Quantized& q = x.startsFor(layout, pool);
        args.ints = {q.codes.data(), q.codeStride,    q.scales.data(), q.weightedSums.data(),
                     q.sums.data(),  q.starts.data(), x.rows()};
    }
    const KernelTable& table = kernels();
    const auto panels = [&](const MatmulArgs& part, std::int64_t begin, std::int64_t end) {
        if (plain)
            table.plainPanels(&part, w.format(), begin, end, threadScratch());
        else
            table.intPanels(&part, begin, end, threadScratch());
    };
    const auto threads = static_cast<std::int64_t>(pool.threads());
    if (args.m <= kDirectRows) {
        // Pieces of equal size, as many as make a multiple of the threads, none of them too small
        // to be worth handing over; whole fours of panels, which kernels take together.
        const auto bytes = static_cast<std::int64_t>(layout.panelBytes) * layout.panels;
        const std::int64_t worth = bytes / kChunkBytes, most = 4 * threads;
        const std::int64_t pieces = worth < threads ? 1 : std::min(worth / threads * threads, most);
        const std::int64_t grain = ((layout.panels + pieces - 1) / pieces + 3) / 4 * 4;
        const auto body = [&](std::int64_t begin, std::int64_t end, int) {
            panels(args, begin, end);
        };
        return pool.parallelFor(layout.panels, grain, std::ref(body));
    }
    // Pairs of panels x blocks of rows; with few panels the blocks get smaller until every thread
    // has some.
    const std::int64_t pairs = (layout.panels + 1) / 2;
    const std::int64_t wanted = std::max<std::int64_t>(1, (4 * threads + pairs - 1) / pairs);
    const std::int64_t even = (args.m + wanted - 1) / wanted;
    const std::int64_t rows = std::min(kRowBlock, (even + kRowTile - 1) / kRowTile * kRowTile);
    const std::int64_t blocks = (args.m + rows - 1) / rows;
    const auto body = [&](std::int64_t begin, std::int64_t end, int) {
        while (begin < end) {
            const std::int64_t block = begin / pairs, first = begin % pairs;
            const std::int64_t last = std::min(pairs, first + end - begin);
            const MatmulArgs part =
                rowsOf(args, block * rows, std::min(rows, args.m - block * rows));
            panels(part, 2 * first, std::min(2 * last, layout.panels));
            begin += last - first;
        }
    };
    pool.parallelFor(pairs * blocks, std::max<std::int64_t>(1, pairs * blocks / (threads * 16)),
                     std::ref(body));
}

}  // namespace fettle::kernels
