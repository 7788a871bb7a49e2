#include "tests/simt/emulator/emulator.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <numeric>
#include <random>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif
#ifdef FETTLE_SIMT_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#include "tests/simt/emulator/fiber.h"

namespace fettle::simt {

/// One shared array of the running block and, byte by byte, who touched it last.
struct SharedBlock {
    struct Touch {
        int thread = -1;
        unsigned blockEpoch = 0;  // barriers the thread had passed
        unsigned warpEpoch = 0;
    };
    struct Shadow {
        Touch write, read, otherRead;  // two readers, of different warps if there are such
        bool arriving = false;         // a copy was begun and not waited for
    };
    std::unique_ptr<std::byte[]> bytes;
    std::vector<Shadow> shadow;
    std::size_t size = 0;
};

namespace {

constexpr int kWarp = 32;
constexpr unsigned kMaxThreads = 1024;
constexpr std::size_t kMaxShared = 48 * 1024;  // what every device grants without being asked
constexpr std::size_t kGuardBytes = 256;
constexpr std::size_t kAlignment = 256;
constexpr unsigned char kPoison = 0xff;  // of shared memory

// What orders memory on a GPU, said to the thread sanitizer: what was written before publish() is
// there after a receive() of the same place.
#ifdef FETTLE_SIMT_TSAN
extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
/// While it lives the emulator keeps its own books on a fiber: containers, whose code the sanitizer
/// sees although it is told to leave this file alone, and their memory.
class OwnBooks {
public:
    OwnBooks() {
        AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
        AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
    }
    ~OwnBooks() {
        AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
        AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
    }
    OwnBooks(const OwnBooks&) = delete;
    OwnBooks& operator=(const OwnBooks&) = delete;
};
void publish(const void* place) {
    __tsan_release(const_cast<void*>(place));
}
void receive(const void* place) {
    __tsan_acquire(const_cast<void*>(place));
}
#else
struct OwnBooks {
    OwnBooks() {}  // not trivial: the variable is used
};
void publish(const void*) {}
void receive(const void*) {}
#endif

/// Leaves a kernel in the middle; caught where its fiber began.
struct Abandoned {};

enum class State { Ready, AtBarrier, InCollective, Done };

/// A copy to shared memory that was begun.
struct Copy {
    SharedBlock* memory;
    std::size_t offset, used, bytes;
    const void* from;
};

struct Thread {
    Fiber fiber;
    Index3 index;
    int number = 0;
    State state = State::Ready;
    std::source_location site;
    WarpOp op = WarpOp::Sync;
    unsigned mask = 0;
    std::uint64_t value = 0, result = 0;
    int argument = 0, width = 0;
    unsigned blockEpoch = 0, warpEpoch = 0, passes = 0;
    WarpFunction compute = nullptr;
    std::vector<Copy> begun;                // belong to the next group
    std::vector<std::vector<Copy>> groups;  // committed, the oldest first
    // Places of a warp's meetings, in its first thread: as one ends, the next may have begun.
    std::array<char, 2> warpMeetings{}, computed{};
};

struct Machine {
    Options options;
    std::set<Site> barriers;
    unsigned mostPasses = 0;
    std::vector<std::unique_ptr<Thread>> pool;  // kept from launch to launch, with their stacks
    int count = 0, live = 0, waiting = 0;
    Thread* running = nullptr;
    Extent3 grid, block;
    Index3 blockAt;
    std::function<void()> body;
    std::map<const void*, SharedBlock> shared;
    std::size_t sharedBytes = 0;
    std::optional<std::pair<Defect, std::string>> defect;
    struct DevicePiece {
        std::size_t bytes = 0;
        unsigned char guard = 0;
        std::uint64_t lastWork = 0;
        int owner = 0;
    };
    std::map<std::uintptr_t, DevicePiece> device;
    std::array<std::vector<std::function<void()>>, kDevices> queued;
    std::array<char, 2> blockMeetings{};  // likewise of the block
    char begun = 0, ended = 0;            // of the launch
    int current = 0;
};

Machine& machine() {
    static Machine m;
    return m;
}

Thread& thread(int number) {
    return *machine().pool[static_cast<std::size_t>(number)];
}

std::string describe(const Thread& t) {
    const Machine& m = machine();
    return "thread " + std::to_string(t.number) + " of block (" + std::to_string(m.blockAt.x) +
           ", " + std::to_string(m.blockAt.y) + ", " + std::to_string(m.blockAt.z) + ")";
}

std::string text(const std::source_location& where) {
    return simt::text(siteOf(where));
}

/// Notes a barrier that the running thread comes to; true if it is to be run through.
bool passThrough(const std::source_location& at) {
    const OwnBooks books;
    Machine& m = machine();
    const Site site = siteOf(at);
    const unsigned pass = m.running->passes++;
    m.barriers.insert(site);
    m.mostPasses = std::max(m.mostPasses, pass + 1);
    return m.options.droppedBarrier == site || m.options.droppedPass == pass;
}

void releaseBarrier() {
    Machine& m = machine();
    if (m.live == 0 || m.waiting != m.live)
        return;
    const Thread* first = nullptr;
    for (int i = 0; i < m.count; ++i) {
        Thread& t = thread(i);
        if (t.state != State::AtBarrier)
            continue;
        if (!first)
            first = &t;
        else if (siteOf(t.site) != siteOf(first->site) && !m.defect)
            m.defect = {Defect::DivergentBarrier,
                        "threads of one block wait at different barriers: thread " +
                            std::to_string(first->number) + " at " + text(first->site) +
                            ", thread " + std::to_string(t.number) + " at " + text(t.site)};
        t.state = State::Ready;
        ++t.blockEpoch;
    }
    m.waiting = 0;
}

// ---- warp collectives

std::uint64_t lanesThat(const Thread* const* lanes, unsigned mask) {
    std::uint64_t set = 0;
    for (int l = 0; l < kWarp; ++l)
        if ((mask >> l & 1U) && lanes[l]->value != 0)
            set |= std::uint64_t{1} << l;
    return set;
}

/// The lane that `lane` reads from, as the PTX manual defines it for shfl.sync.
int sourceLane(const Thread& t, int lane) {
    const int first = lane & ~(t.width - 1), end = first + t.width;
    int source = lane;
    if (t.op == WarpOp::Shuffle)
        return first + (t.argument & (t.width - 1));
    if (t.op == WarpOp::ShuffleUp)
        source = lane - t.argument;
    else if (t.op == WarpOp::ShuffleDown)
        source = lane + t.argument;
    else
        source = lane ^ t.argument;
    return source < first || source >= end ? lane : source;
}

/// Gives every lane of `mask` its result. All of them wait in the same op.
void completeCollective(Thread* const* lanes, unsigned mask) {
    const std::uint64_t set = lanesThat(lanes, mask);
    if (lanes[0] && lanes[0]->op == WarpOp::Compute) {
        void* given[kWarp];
        for (int l = 0; l < kWarp; ++l)
            given[l] = reinterpret_cast<void*>(lanes[l]->value);
        lanes[0]->compute(given);
    }
    for (int l = 0; l < kWarp; ++l) {
        if (!(mask >> l & 1U))
            continue;
        Thread& t = *lanes[l];
        t.state = State::Ready;
        switch (t.op) {
            case WarpOp::Ballot:
                t.result = set;
                break;
            case WarpOp::Any:
                t.result = set != 0;
                break;
            case WarpOp::All:
                t.result = set == mask;
                break;
            case WarpOp::Compute:
                break;
            case WarpOp::Sync:
                // One count a warp cannot tell who met whom, so only a meeting of all lanes orders
                // memory: stricter than the GPU, never laxer.
                t.warpEpoch += mask == 0xffffffffU;
                break;
            default: {
                const int source = sourceLane(t, l);
                if (!(mask >> source & 1U))
                    report(Defect::WarpMask,
                           "lane " + std::to_string(l) + " reads lane " + std::to_string(source) +
                               ", which the mask does not name, at " + text(t.site));
                t.result = lanes[source]->value;
            }
        }
    }
}

// ---- shared memory

bool ordered(const SharedBlock::Touch& before, const Thread& now) {
    return before.thread < 0 || before.thread == now.number || before.blockEpoch < now.blockEpoch ||
           (before.thread / kWarp == now.number / kWarp && before.warpEpoch < now.warpEpoch);
}

void requireOrder(const SharedBlock::Touch& before, const Thread& now, const char* was,
                  const char* is, std::size_t offset) {
    if (!ordered(before, now))
        report(Defect::Race, "thread " + std::to_string(now.number) + " " + is +
                                 " shared memory (byte " + std::to_string(offset) +
                                 ") that thread " + std::to_string(before.thread) + " " + was +
                                 " with no barrier between");
}

void noteRead(SharedBlock::Shadow& s, const SharedBlock::Touch& now) {
    if (s.read.thread < 0 || s.read.thread == now.thread || s.read.blockEpoch < now.blockEpoch) {
        s.read = now;
        return;
    }
    const bool otherIsFar = s.otherRead.thread >= 0 && s.otherRead.blockEpoch == now.blockEpoch &&
                            s.otherRead.thread / kWarp != s.read.thread / kWarp;
    if (!otherIsFar || s.otherRead.thread == now.thread)
        s.otherRead = now;
}

// ---- launching

void checkLaunch(Extent3 grid, Extent3 block, std::size_t sharedBytes) {
    const auto refuse = [](const std::string& why) {
        throw Finding(Defect::IllegalLaunch, "illegal launch: " + why);
    };
    const std::uint64_t threads = std::uint64_t{block.x} * block.y * block.z;
    if (threads == 0 || grid.x == 0 || grid.y == 0 || grid.z == 0)
        refuse("an extent of the grid or the block is 0");
    if (threads > kMaxThreads || block.x > 1024 || block.y > 1024 || block.z > 64)
        refuse("a block of " + std::to_string(block.x) + " x " + std::to_string(block.y) + " x " +
               std::to_string(block.z) + " threads, at most 1024 in all and 64 deep");
    if (grid.x > 0x7fffffffU || grid.y > 65535 || grid.z > 65535)
        refuse("a grid of " + std::to_string(grid.x) + " x " + std::to_string(grid.y) + " x " +
               std::to_string(grid.z) + " blocks, y and z are at most 65535");
    if (sharedBytes > kMaxShared)
        refuse(std::to_string(sharedBytes) + " bytes of shared memory, at most 49152");
}

std::string stuck() {
    Machine& m = machine();
    std::map<std::string, int> places;
    for (int i = 0; i < m.count; ++i) {
        const Thread& t = thread(i);
        if (t.state != State::Done)
            ++places[(t.state == State::AtBarrier ? "the barrier at " : "the collective at ") +
                     text(t.site)];
        else
            ++places["the end of the kernel"];
    }
    std::string all = "deadlock in block (" + std::to_string(m.blockAt.x) + ", " +
                      std::to_string(m.blockAt.y) + ", " + std::to_string(m.blockAt.z) + "):";
    for (const auto& [place, count] : places)
        all += " " + std::to_string(count) + " threads at " + place + ";";
    all.pop_back();
    return all;
}

void throwDefect() {
    Machine& m = machine();
    if (!m.defect)
        return;
    const auto [defect, text] = *std::exchange(m.defect, std::nullopt);
    m.running = nullptr;
    m.shared.clear();
    throw Finding(defect, text);
}

void forgetShared() {
    const OwnBooks books;
    machine().shared.clear();
    machine().sharedBytes = 0;
}

void runBlock(const std::vector<int>& order) {
    Machine& m = machine();
    m.live = m.count;
    m.waiting = 0;
    for (int i = 0; i < m.count; ++i) {
        Thread& t = thread(i);
        const auto n = static_cast<unsigned>(i);
        t.index = {n % m.block.x, n / m.block.x % m.block.y, n / (m.block.x * m.block.y)};
        t.number = i;
        t.state = State::Ready;
        t.blockEpoch = t.warpEpoch = t.passes = 0;
        t.begun.clear();
        t.groups.clear();
        t.fiber.start(m.body);
    }
    while (m.live > 0) {
        bool ran = false;
        for (const int i : order) {
            if (thread(i).state != State::Ready)
                continue;
            m.running = &thread(i);
            m.running->fiber.resume();
            ran = true;
            if (m.defect)
                throwDefect();
            if (m.options.order == Order::Greedy)
                break;
        }
        if (!ran) {
            m.defect = {Defect::Deadlock, stuck()};
            throwDefect();
        }
    }
    m.running = nullptr;
}

void checkGuards() {
#ifndef __SANITIZE_ADDRESS__  // which sees reads as well, and would see these
    const auto check = [](const unsigned char* guard, unsigned char value, const char* where,
                          std::size_t bytes) {
        for (std::size_t i = 0; i < kGuardBytes; ++i)
            if (guard[i] != value)
                throw Finding(Defect::OutOfBounds, std::string("the kernel wrote ") + where + " " +
                                                       std::to_string(bytes) +
                                                       " bytes of device memory");
    };
    for (const auto& [address, piece] : machine().device) {
        const auto* memory = reinterpret_cast<const unsigned char*>(address);
        check(memory - kGuardBytes, piece.guard, "in front of", piece.bytes);
        check(memory + piece.bytes, piece.guard, "behind", piece.bytes);
    }
#endif
}

}  // namespace

const char* name(Order order) {
    switch (order) {
        case Order::Plain:
            return "plain";
        case Order::Shuffled:
            return "shuffled";
        case Order::Greedy:
            return "greedy";
        case Order::Reverse:
            return "reverse";
    }
    return "";
}

Site siteOf(const std::source_location& where) {
    const std::string file = where.file_name();
    return {file.substr(file.rfind('/') + 1), where.line()};
}

std::string text(const Site& site) {
    return site.first + ":" + std::to_string(site.second);
}

Options& options() {
    return machine().options;
}

std::set<Site>& barriersSeen() {
    return machine().barriers;
}

unsigned& mostPasses() {
    return machine().mostPasses;
}

int& currentDevice() {
    return machine().current;
}

void enqueue(std::function<void()> work, int device) {
    machine().queued[static_cast<std::size_t>(device)].push_back(std::move(work));
}

void drain(int device) {
    for (const std::function<void()>& work :
         std::exchange(machine().queued[static_cast<std::size_t>(device)], {}))
        work();
}

void drain() {
    for (int device = 0; device < kDevices; ++device)
        drain(device);
}

void run(Extent3 grid, Extent3 block, std::size_t sharedBytes,
         const std::function<void()>& kernel) {
    Machine& m = machine();
    drain(m.current);
    checkLaunch(grid, block, sharedBytes);
    ++counters().launches;
    ++counters().work;
    m.grid = grid;
    m.block = block;
    m.count = static_cast<int>(block.x * block.y * block.z);
    m.defect.reset();
    m.body = [&kernel] {
        Machine& here = machine();
        receive(&here.begun);
        try {
            kernel();
        } catch (const Abandoned&) {
            here.running->state = State::Done;
            return;  // the launch ends with the defect
        }
        here.running->state = State::Done;
        publish(&here.ended);
        --here.live;
        releaseBarrier();
    };
    while (static_cast<int>(m.pool.size()) < m.count)
        m.pool.push_back(std::make_unique<Thread>());

    std::mt19937_64 rng(m.options.seed);
    std::vector<int> order(static_cast<std::size_t>(m.count));
    std::iota(order.begin(), order.end(), 0);
    std::vector<std::uint64_t> blocks(std::uint64_t{grid.x} * grid.y * grid.z);
    std::iota(blocks.begin(), blocks.end(), std::uint64_t{0});
    if (m.options.order == Order::Reverse) {
        std::reverse(order.begin(), order.end());
        std::reverse(blocks.begin(), blocks.end());
    }
    if (m.options.order == Order::Shuffled)
        std::shuffle(blocks.begin(), blocks.end(), rng);
    publish(&m.begun);
    for (const std::uint64_t b : blocks) {
        m.blockAt = {static_cast<unsigned>(b % grid.x), static_cast<unsigned>(b / grid.x % grid.y),
                     static_cast<unsigned>(b / grid.x / grid.y)};
        if (m.options.order == Order::Shuffled)
            std::shuffle(order.begin(), order.end(), rng);
        forgetShared();
        if (sharedBytes > 0)
            sharedBlock(nullptr, sharedBytes);
        runBlock(order);
    }
    receive(&m.ended);
    forgetShared();
    checkGuards();
}

const Index3& threadIndex() {
    return machine().running->index;
}
const Index3& blockIndex() {
    return machine().blockAt;
}
const Extent3& blockExtent() {
    return machine().block;
}
const Extent3& gridExtent() {
    return machine().grid;
}

void report(Defect defect, const std::string& what) {
    Machine& m = machine();
    m.defect = {defect, describe(*m.running) + ": " + what};
    throw Abandoned();  // unwinds the fiber's stack, whose strings would leak
}

void blockBarrier(const std::source_location& at) {
    Machine& m = machine();
    if (passThrough(at))
        return;
    Thread& t = *m.running;
    t.site = at;
    t.state = State::AtBarrier;
    ++m.waiting;
    const void* const meeting = &m.blockMeetings[t.blockEpoch % 2];
    publish(meeting);
    releaseBarrier();
    t.fiber.suspend();
    receive(meeting);
}

std::uint64_t warpCollective(WarpOp op, unsigned mask, std::uint64_t value, int argument, int width,
                             const std::source_location& at) {
    Machine& m = machine();
    if (op != WarpOp::Compute)
        machine().running->compute = nullptr;
    if (op == WarpOp::Sync && passThrough(at))
        return 0;
    Thread& t = *m.running;
    const int lane = t.number % kWarp, first = t.number - lane;
    // Made only for a report: what a fiber holds while it waits is never destroyed if the launch
    // ends.
    const auto place = [&at] { return " at " + text(at); };
    if (!(mask >> lane & 1U))
        report(Defect::WarpMask, "the calling lane is not in its own mask" + place());
    t.site = at;
    t.op = op;
    t.mask = mask;
    t.value = value;
    t.argument = argument;
    t.width = width;
    t.state = State::InCollective;
    Thread* lanes[kWarp] = {};
    bool complete = true;
    for (int l = 0; l < kWarp; ++l) {
        if (!(mask >> l & 1U))
            continue;
        if (first + l >= m.count)
            report(Defect::WarpMask, "the mask names lane " + std::to_string(l) +
                                         ", which does not exist," + place());
        lanes[l] = &thread(first + l);
        if (lanes[l]->state == State::Done)
            report(Defect::WarpMask,
                   "the mask names lane " + std::to_string(l) + ", which has ended," + place());
        if (lanes[l]->state != State::InCollective)
            complete = false;
        else if (lanes[l]->op != op || lanes[l]->mask != mask || lanes[l]->compute != t.compute)
            report(Defect::WarpMask, "lanes meet in different collectives, lane " +
                                         std::to_string(l) + " at " + text(lanes[l]->site) +
                                         ", this one" + place());
    }
    // Only a meeting of all lanes for its own sake orders memory; one that computes passes on what
    // its lanes hold in registers, which here lie in memory.
    Thread& warp = thread(first);
    const bool orders = op == WarpOp::Compute || (op == WarpOp::Sync && mask == 0xffffffffU);
    const std::size_t turn = op == WarpOp::Compute ? 0 : t.warpEpoch % 2;
    const void* const meeting =
        op == WarpOp::Compute ? &warp.computed[0] : &warp.warpMeetings[turn];
    if (orders)
        publish(meeting);
    if (!complete) {
        t.fiber.suspend();
    } else {
        if (op == WarpOp::Compute)
            receive(meeting);
        completeCollective(lanes, mask);
        if (op == WarpOp::Compute)
            publish(&warp.computed[1]);
    }
    if (orders)
        receive(op == WarpOp::Compute ? &warp.computed[1] : meeting);
    return t.result;
}

void warpCompute(void* lane, WarpFunction compute, const std::source_location& at) {
    machine().running->compute = compute;
    warpCollective(WarpOp::Compute, 0xffffffffU, reinterpret_cast<std::uint64_t>(lane), 0, kWarp,
                   at);
}

void copyLater(SharedBlock& memory, std::size_t offset, const void* from, std::size_t used,
               std::size_t bytes) {
    if (offset % bytes != 0)
        report(Defect::Misaligned, "a copy to shared memory is off its multiples");
    if (used > 0 && !isDevice(from))
        report(Defect::HostPointer, "a copy to shared memory comes from the host's");
    accessShared(memory, offset, bytes, true);
    for (std::size_t i = 0; i < bytes; ++i)
        memory.shadow[offset + i].arriving = true;
    machine().running->begun.push_back({&memory, offset, used, bytes, from});
}

void commitCopies() {
    Thread& t = *machine().running;
    t.groups.push_back(std::exchange(t.begun, {}));
}

void waitForCopies(int pending, const std::source_location& at) {
    if (passThrough(at))
        return;
    Thread& t = *machine().running;
    while (t.groups.size() > static_cast<std::size_t>(pending)) {
        for (const Copy& copy : t.groups.front()) {
            for (std::size_t i = 0; i < copy.bytes; ++i)
                copy.memory->shadow[copy.offset + i].arriving = false;
            std::byte* to = accessShared(*copy.memory, copy.offset, copy.bytes, true);
            std::memcpy(to, copy.from, copy.used);
            std::memset(to + copy.used, 0, copy.bytes - copy.used);
        }
        t.groups.erase(t.groups.begin());
    }
}

SharedBlock& sharedBlock(const void* tag, std::size_t bytes) {
    const OwnBooks books;
    Machine& m = machine();
    const auto found = m.shared.find(tag);
    if (found != m.shared.end()) {
        receive(&found->second);
        return found->second;
    }
    if (tag == nullptr && bytes == 0)
        report(Defect::IllegalLaunch,
               "the kernel uses dynamic shared memory, the launch gives none");
    m.sharedBytes += bytes;
    if (m.sharedBytes > kMaxShared)
        report(Defect::IllegalLaunch, "the block uses " + std::to_string(m.sharedBytes) +
                                          " bytes of shared memory, at most 49152");
    SharedBlock& made = m.shared[tag];
    made.bytes.reset(new std::byte[bytes]);
    std::memset(made.bytes.get(), kPoison, bytes);
    made.shadow.resize(bytes);
    made.size = bytes;
    publish(&made);
    return made;
}

std::size_t sizeOf(const SharedBlock& memory) {
    return memory.size;
}

std::byte* accessShared(SharedBlock& memory, std::size_t offset, std::size_t bytes, bool write) {
    const Machine& m = machine();
    const Thread& t = *m.running;
    if (offset > memory.size || bytes > memory.size - offset)
        report(Defect::OutOfBounds,
               "shared memory is " + (write ? std::string("written") : std::string("read")) +
                   " at byte " + std::to_string(static_cast<std::int64_t>(offset)) + " of " +
                   std::to_string(memory.size));
    if (m.options.checkMemory) {
        const SharedBlock::Touch now = {t.number, t.blockEpoch, t.warpEpoch};
        for (std::size_t i = offset; i < offset + bytes; ++i) {
            SharedBlock::Shadow& s = memory.shadow[i];
            if (!write && s.write.thread < 0)
                report(Defect::UninitialisedRead,
                       "shared memory (byte " + std::to_string(i) + ") is read before any write");
            if (s.arriving)
                report(Defect::Race, "shared memory (byte " + std::to_string(i) + ") is " +
                                         (write ? "written" : "read") +
                                         " while a copy to it has not been waited for");
            requireOrder(s.write, t, "wrote", write ? "writes" : "reads", i);
            if (write) {
                requireOrder(s.read, t, "reads", "writes", i);
                requireOrder(s.otherRead, t, "reads", "writes", i);
                s.write = now;
            } else {
                noteRead(s, now);
            }
        }
    }
    return memory.bytes.get() + offset;
}

void* allocateDevice(std::size_t bytes) {
    Machine& m = machine();
    // The alignment that cudaMalloc gives.
    auto* all = static_cast<unsigned char*>(
        ::operator new (bytes + 2 * kGuardBytes, std::align_val_t{kAlignment}));
    unsigned char* const memory = all + kGuardBytes;
    std::memset(all, m.options.guard, bytes + 2 * kGuardBytes);
    std::memset(memory, m.options.fill, bytes);
#ifdef __SANITIZE_ADDRESS__
    __asan_poison_memory_region(all, kGuardBytes);
    __asan_poison_memory_region(memory + bytes, kGuardBytes);
#endif
    m.device[reinterpret_cast<std::uintptr_t>(memory)] = {bytes, m.options.guard, 0, m.current};
    return memory;
}

void freeDevice(void* memory) {
    const auto at = machine().device.find(reinterpret_cast<std::uintptr_t>(memory));
    auto* const all = static_cast<unsigned char*>(memory) - kGuardBytes;
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(all, at->second.bytes + 2 * kGuardBytes);
#endif
    machine().device.erase(at);
    ::operator delete (all, std::align_val_t{kAlignment});
}

namespace {

Machine::DevicePiece* pieceAt(const void* address) {
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    auto& device = machine().device;
    auto next = device.upper_bound(at);
    if (next == device.begin() || at > std::prev(next)->first + std::prev(next)->second.bytes)
        return nullptr;
    return &std::prev(next)->second;
}

}  // namespace

bool isDevice(const void* address) {
    return pieceAt(address) != nullptr;
}

int deviceOf(const void* address) {
    const Machine::DevicePiece* const piece = pieceAt(address);
    return piece ? piece->owner : -1;
}

bool isDeviceArgument(const void* address) {
    Machine::DevicePiece* const piece = pieceAt(address);
    if (piece && piece->owner != machine().current)
        throw Finding(Defect::HostPointer, "work of device " + std::to_string(machine().current) +
                                               " is given memory of device " +
                                               std::to_string(piece->owner));
    if (piece)
        piece->lastWork = counters().work + 1;
    return piece != nullptr;
}

std::uint64_t lastWorkWith(const void* address) {
    const Machine::DevicePiece* const piece = pieceAt(address);
    return piece ? piece->lastWork : 0;
}

}  // namespace fettle::simt
