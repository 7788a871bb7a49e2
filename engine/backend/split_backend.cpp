#include "engine/backend/split_backend.h"

#include <algorithm>
#include <cmath>

#include "engine/backend/byte_ranges.h"
#include "engine/core/error.h"

namespace fettle {

namespace {

constexpr std::uintptr_t kAddressStep = 4096;

std::size_t floats(std::int64_t count) {
    return static_cast<std::size_t>(count) * sizeof(float);
}

/// From the first of `rows` to the end of the last.
std::int64_t extent(std::int64_t rows, std::int64_t cols, std::int64_t stride) {
    return rows > 0 ? (rows - 1) * stride + cols : 0;
}

}  // namespace

/// Zeros everywhere at first: memory of a device is made, and zeroed, when the device first needs
/// it.
class SplitBackend::Buffer : public DeviceBuffer {
public:
    Buffer(SplitBackend& owner, std::size_t bytes)
        : m_owner(owner), m_address(owner.m_next), m_bytes(bytes), copies(owner.m_parts.size()) {
        owner.m_next += (bytes / kAddressStep + 2) * kAddressStep;
        owner.m_buffers[m_address] = this;
        for (Copy& copy : copies)
            copy.current.add({0, bytes});
    }
    ~Buffer() override { m_owner.m_buffers.erase(m_address); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    // A name for the buffer, never read through.
    void* data() override {
        return reinterpret_cast<void*>(m_address);  // NOLINT(performance-no-int-to-ptr)
    }
    std::size_t bytes() const override { return m_bytes; }
    std::uintptr_t address() const { return m_address; }

private:
    SplitBackend& m_owner;
    std::uintptr_t m_address;
    std::size_t m_bytes;

public:
    struct Copy {
        std::unique_ptr<DeviceBuffer> memory;
        ByteRanges current;
    };
    std::vector<Copy> copies;  // of each device
};

class SplitBackend::Weight : public DeviceWeight {
public:
    Weight(std::unique_ptr<DeviceWeight> held, std::size_t of)
        : weight(std::move(held)), part(of) {}
    std::int64_t rows() const override { return weight->rows(); }
    std::int64_t cols() const override { return weight->cols(); }
    std::size_t bytes() const override { return weight->bytes(); }
    bool native() const override { return weight->native(); }

    std::unique_ptr<DeviceWeight> weight;
    std::size_t part;
};

SplitBackend::SplitBackend(const std::vector<DeviceSummary>& devices, int threads,
                           std::size_t pieceBytes)
    : m_device(joinedDevice(devices)) {
    if (devices.size() < 2)
        throw EngineError(ErrorKind::Internal, "a model is split over two devices or more");
    double sum = 0;
    for (const DeviceSummary& device : devices) {
        // Work of the host is done with the threads of the first.
        m_parts.push_back(
            std::make_unique<CudaBackend>(device, m_parts.empty() ? threads : 1, pieceBytes));
        sum += static_cast<double>(m_parts.back()->freeBytes());
        m_shares.push_back(sum);
    }
    for (double& share : m_shares)
        share /= sum;
    m_device.threads = m_parts.front()->threads();
    now().makeCurrent();
}

SplitBackend::~SplitBackend() = default;

std::vector<std::int64_t> SplitBackend::firstLayers(std::int64_t count) const {
    // What follows the last layer, the head, is as large as a layer or so.
    std::vector<std::int64_t> first = {0};
    for (std::size_t i = 0; i + 1 < m_shares.size(); ++i)
        first.push_back(std::clamp<std::int64_t>(
            std::llround(m_shares[i] * static_cast<double>(count + 1)), first.back(), count));
    first.push_back(count);
    return first;
}

void SplitBackend::enterLayer(std::int64_t layer, std::int64_t count) {
    const std::vector<std::int64_t> first = firstLayers(count);
    std::size_t part = 0;
    while (part + 1 < m_parts.size() && layer >= first[part + 1])
        ++part;
    switchTo(part);
}

void SplitBackend::switchTo(std::size_t part) {
    if (part == m_now)
        return;
    if (m_step)
        now().endStep();
    m_now = part;
    now().makeCurrent();
    if (m_step)
        now().beginStep(m_step->owner, m_step->tokens);
}

// ---- memory

SplitBackend::Buffer& SplitBackend::bufferAt(const void* address, std::size_t* offset) const {
    const auto wanted = reinterpret_cast<std::uintptr_t>(address);
    const auto next = m_buffers.upper_bound(wanted);
    Buffer* const buffer = next == m_buffers.begin() ? nullptr : std::prev(next)->second;
    if (!buffer || wanted > buffer->address() + buffer->bytes())
        throw EngineError(ErrorKind::Internal, "an address that is in no buffer of the devices");
    *offset = wanted - buffer->address();
    return *buffer;
}

void* SplitBackend::at(const void* address, std::size_t bytes, Access access) {
    if (!address)
        return nullptr;
    std::size_t offset = 0;
    Buffer& buffer = bufferAt(address, &offset);
    Buffer::Copy& here = buffer.copies[m_now];
    if (!here.memory)
        here.memory = now().allocate(buffer.bytes());
    auto* const memory = static_cast<std::byte*>(here.memory->data());
    const ByteRange range = {offset, offset + bytes};
    // Each byte is current somewhere.
    for (std::size_t from = 0; access != Access::Write && from < buffer.copies.size(); ++from) {
        const Buffer::Copy& there = buffer.copies[from];
        for (const ByteRange& gap : here.current.missing(range))
            for (const ByteRange& part : there.current.within(gap)) {
                const auto* const source = static_cast<const std::byte*>(there.memory->data());
                now().receive(memory + part.begin, *m_parts[from], source + part.begin,
                              part.end - part.begin);
                here.current.add(part);
                m_moved += part.end - part.begin;
            }
    }
    here.current.add(range);
    if (access != Access::Read)
        for (std::size_t other = 0; other < buffer.copies.size(); ++other)
            if (other != m_now)
                buffer.copies[other].current.remove(range);
    return memory + offset;
}

const float* SplitBackend::read(const float* address, std::int64_t count) {
    return static_cast<const float*>(at(address, floats(count), Access::Read));
}
float* SplitBackend::change(float* address, std::int64_t count) {
    return static_cast<float*>(at(address, floats(count), Access::Change));
}
const float* SplitBackend::readRows(const float* address, std::int64_t rows, std::int64_t cols,
                                    std::int64_t stride) {
    return read(address, extent(rows, cols, stride));
}
float* SplitBackend::writeRows(float* address, std::int64_t rows, std::int64_t cols,
                               std::int64_t stride) {
    return static_cast<float*>(at(address, floats(extent(rows, cols, stride)),
                                  stride == cols ? Access::Write : Access::Change));
}
void* SplitBackend::whole(const void* address, Access access) {
    std::size_t offset = 0;
    const std::size_t bytes = bufferAt(address, &offset).bytes();
    return at(address, bytes - offset, access);
}

std::unique_ptr<DeviceBuffer> SplitBackend::allocate(std::size_t bytes) {
    return std::make_unique<Buffer>(*this, bytes);
}

std::unique_ptr<DeviceWeight> SplitBackend::prepareWeight(const kernels::WeightView& weight) {
    return std::make_unique<Weight>(now().prepareWeight(weight), m_now);
}

void SplitBackend::upload(void* device, const void* host, std::size_t bytes) {
    now().upload(at(device, bytes, Access::Write), host, bytes);
}

void SplitBackend::download(void* host, const void* device, std::size_t bytes) {
    now().download(host, at(device, bytes, Access::Read), bytes);
}

void SplitBackend::synchronize() {
    for (const auto& part : m_parts)
        part->synchronize();
}

const DeviceSummary& SplitBackend::device() const {
    m_device.reason.clear();
    for (const auto& part : m_parts)
        if (const DeviceSummary& each = part->device(); !each.reason.empty())
            m_device.reason += (m_device.reason.empty() ? "" : "; ") + each.id + ": " + each.reason;
    return m_device;
}

std::optional<std::uint64_t> SplitBackend::peakBytes() const {
    std::uint64_t sum = 0;
    for (const auto& part : m_parts)
        sum += *part->peakBytes();
    return sum;
}

void SplitBackend::resetPeak() {
    for (const auto& part : m_parts)
        part->resetPeak();
}

// ---- steps and ranges

void SplitBackend::beginStep(const void* owner, std::int64_t tokens) {
    m_step = {owner, tokens};
    now().beginStep(owner, tokens);
}

void SplitBackend::endStep() {
    m_step.reset();
    now().endStep();
}

void SplitBackend::dropStep() noexcept {
    m_step.reset();
    now().dropStep();
}

// Ranges are of the host's thread, whatever device works.
void SplitBackend::beginRange(const char* name, std::int64_t number) {
    m_parts.front()->beginRange(name, number);
}

void SplitBackend::endRange() noexcept {
    m_parts.front()->endRange();
}

// ---- ops: each on the device of the layer that was entered last, products where the weight is

void SplitBackend::linear(const float* x, std::int64_t m, std::int64_t k, std::int64_t stride,
                          std::span<const LinearTarget> targets) {
    for (std::size_t first = 0; first < targets.size();) {
        const std::size_t part = static_cast<const Weight*>(targets[first].weight)->part;
        switchTo(part);
        std::vector<LinearTarget> here;
        for (; first < targets.size(); ++first) {
            const auto* const weight = static_cast<const Weight*>(targets[first].weight);
            if (weight->part != part)
                break;
            LinearTarget target = targets[first];
            target.weight = weight->weight.get();
            target.bias = read(target.bias, weight->rows());
            target.y = target.accumulate
                           ? change(target.y, extent(m, weight->rows(), target.yStride))
                           : writeRows(target.y, m, weight->rows(), target.yStride);
            here.push_back(target);
        }
        now().linear(readRows(x, m, k, stride), m, k, stride, here);
    }
}

void SplitBackend::rmsNorm(const float* x, std::int64_t xStride, const float* w, float offset,
                           float eps, std::int64_t rows, std::int64_t cols, float* y,
                           std::int64_t yStride) {
    const float* const in = readRows(x, rows, cols, xStride);
    const float* const weight = read(w, cols);
    now().rmsNorm(in, xStride, weight, offset, eps, rows, cols, writeRows(y, rows, cols, yStride),
                  yStride);
}

void SplitBackend::layerNorm(const float* x, std::int64_t xStride, const float* w, const float* b,
                             float eps, std::int64_t rows, std::int64_t cols, float* y,
                             std::int64_t yStride) {
    const float* const in = readRows(x, rows, cols, xStride);
    const float* const weight = read(w, cols);
    const float* const bias = read(b, cols);
    now().layerNorm(in, xStride, weight, bias, eps, rows, cols, writeRows(y, rows, cols, yStride),
                    yStride);
}

void SplitBackend::siluMul(float* gate, const float* up, std::int64_t count) {
    const float* const factor = read(up, count);
    now().siluMul(change(gate, count), factor, count);
}
void SplitBackend::geluTanhMul(float* gate, const float* up, std::int64_t count) {
    const float* const factor = read(up, count);
    now().geluTanhMul(change(gate, count), factor, count);
}
void SplitBackend::geluTanh(float* x, std::int64_t count) {
    now().geluTanh(change(x, count), count);
}
void SplitBackend::add(float* y, const float* x, std::int64_t count) {
    const float* const term = read(x, count);
    now().add(change(y, count), term, count);
}
void SplitBackend::softcap(float* x, float cap, std::int64_t count) {
    now().softcap(change(x, count), cap, count);
}

void SplitBackend::rope(float* x, std::int64_t tokens, std::int64_t stride, std::int64_t heads,
                        std::int64_t headDim, const float* cosSin) {
    // All of the table at once: a part for each token would be a copy for each.
    std::size_t offset = 0;
    Buffer& table = bufferAt(cosSin, &offset);
    const auto* const angles = reinterpret_cast<const float*>(
        static_cast<const std::byte*>(at(table.data(), table.bytes(), Access::Read)) + offset);
    now().rope(change(x, extent(tokens, heads * headDim, stride)), tokens, stride, heads, headDim,
               angles);
}

void SplitBackend::appendKv(const float* k, const float* v, std::int64_t stride, void* keys,
                            void* values, kernels::KvType type, std::int64_t capacity,
                            std::int64_t past, std::int64_t tokens, std::int64_t kvHeads,
                            std::int64_t headDim) {
    const float* const newKeys = readRows(k, tokens, kvHeads * headDim, stride);
    const float* const newValues = readRows(v, tokens, kvHeads * headDim, stride);
    now().appendKv(newKeys, newValues, stride, whole(keys, Access::Change),
                   whole(values, Access::Change), type, capacity, past, tokens, kvHeads, headDim);
}

void SplitBackend::attention(const kernels::AttentionArgs& args) {
    kernels::AttentionArgs here = args;
    const std::int64_t width = args.heads * args.headDim;
    here.q = readRows(args.q, args.tokens, width, args.qStride);
    here.keys = whole(args.keys, Access::Read);
    here.values = whole(args.values, Access::Read);
    here.out = writeRows(args.out, args.tokens, width, args.outStride);
    now().attention(here);
}

void SplitBackend::keepKv(void* keys, void* values, kernels::KvType type, std::int64_t capacity,
                          std::int64_t past, std::span<const std::int32_t> kept,
                          std::int64_t kvHeads, std::int64_t headDim) {
    // Where the layer's cache is.
    std::size_t offset = 0;
    const Buffer& buffer = bufferAt(keys, &offset);
    const ByteRange range = {offset, buffer.bytes()};
    for (std::size_t part = 0; part < m_parts.size(); ++part)
        if (buffer.copies[part].memory && buffer.copies[part].current.missing(range).empty())
            switchTo(part);
    now().keepKv(whole(keys, Access::Change), whole(values, Access::Change), type, capacity, past,
                 kept, kvHeads, headDim);
}

void SplitBackend::summarizeLogits(const float* x, std::int64_t rows, std::int64_t count,
                                   kernels::RowSummary* out) {
    now().summarizeLogits(read(x, rows * count), rows, count, out);
}

void SplitBackend::klDivergence(const float* p, const kernels::RowSummary* ps, const float* q,
                                const kernels::RowSummary* qs, std::int64_t rows,
                                std::int64_t count, double* out) {
    const float* const first = read(p, rows * count);
    now().klDivergence(first, ps, read(q, rows * count), qs, rows, count, out);
}

void SplitBackend::gather(const float* x, std::int64_t rows, std::int64_t count,
                          const std::int32_t* columns, float* out) {
    now().gather(read(x, rows * count), rows, count, columns, out);
}

std::int32_t SplitBackend::drawToken(const float* logits, std::int64_t count,
                                     const kernels::cuda::SamplingRule& rule, float random) {
    return now().drawToken(read(logits, count), count, rule, random);
}

}  // namespace fettle
