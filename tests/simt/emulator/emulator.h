// Runs CUDA kernels on the host: one fiber per CUDA thread, one block after the other. What a GPU
// leaves undefined is reported as a Finding instead of being given some meaning: shared memory that
// is read before it is written or by two threads with no barrier between, lanes that disagree about
// a warp collective, barriers that some threads never reach, launches beyond the limits.
//
// One operating-system thread at a time. Kernels see this through simt_device.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <source_location>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace fettle::simt {

enum class Defect {
    Race,
    UninitialisedRead,
    OutOfBounds,
    Misaligned,
    Deadlock,
    DivergentBarrier,
    WarpMask,
    IllegalLaunch,
    HostPointer
};

/// What a kernel did wrong; thrown by the launch.
class Finding : public std::runtime_error {
public:
    Finding(Defect defect, const std::string& text) : std::runtime_error(text), m_defect(defect) {}
    Defect defect() const { return m_defect; }

private:
    Defect m_defect;
};

/// In which order threads that could run do run; blocks follow the same order.
enum class Order {
    Plain,     ///< by number, each as far as it gets, round and round
    Shuffled,  ///< the same in an order drawn anew for each block
    Greedy,    ///< always the first that can run: one warp gets as far ahead as barriers let it
    Reverse    ///< from the last to the first
};
const char* name(Order order);
constexpr Order kOrders[] = {Order::Plain, Order::Shuffled, Order::Greedy, Order::Reverse};

/// A barrier or collective in the source.
using Site = std::pair<std::string, unsigned>;  // file, line
Site siteOf(const std::source_location& where);
std::string text(const Site& site);

struct Options {
    Order order = Order::Plain;
    std::uint64_t seed = 1;
    bool checkMemory = true;  ///< races and uninitialised reads of shared memory
    // Device memory allocated from now on: what it holds before anything is written, and what lies
    // around it. A result that depends on either comes from memory that the kernel must not read.
    unsigned char fill = 0xff;
    unsigned char guard = 0xa5;
    // Mutations of the kernel: barriers that threads run through.
    std::optional<Site> droppedBarrier = std::nullopt;
    std::optional<unsigned> droppedPass =
        std::nullopt;  ///< the n-th barrier that each thread comes to
    // Waits for copies count as barriers here.
};
/// What the next launches use.
Options& options();
/// Sites of the barriers (block and warp) that launches have passed since the set was last cleared.
std::set<Site>& barriersSeen();
/// The most barriers that a thread has come to since this was last set to 0.
unsigned& mostPasses();

/// What kernels and the host have asked of the device, for tests that predict it.
struct Counters {
    std::uint64_t launches = 0;           ///< of kernels, those of graphs included
    std::uint64_t graphs = 0;             ///< launches of whole graphs
    std::uint64_t dp4a = 0;               ///< instructions of one thread
    std::uint64_t mma = 0;                ///< m16n8k16 of a warp
    std::uint64_t libraryOperations = 0;  ///< multiplications and additions of products left to it
    std::uint64_t plans = 0;              ///< asked of the library that plans products
    std::uint64_t plannedProducts = 0;    ///< computed by it
    std::uint64_t work = 0;               ///< launches and products of the library
};
inline Counters& counters() {
    static Counters all;
    return all;
}
/// Threads of a kernel count together, which is the emulator's doing and not theirs.
__attribute__((no_sanitize("thread"))) inline void count(std::uint64_t Counters::*which) {
    ++(counters().*which);
}

struct Index3 {
    unsigned x = 0, y = 0, z = 0;
};
struct Extent3 {
    unsigned x = 1, y = 1, z = 1;
    Extent3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

constexpr int kDevices = 2;
/// The device that launches and allocations are for. Kernels may not be given another's memory.
int& currentDevice();

/// Queues work of the host's side for a device, done before its next kernel runs or when drain() is
/// called.
void enqueue(std::function<void()> work, int device);
void drain(int device);
/// Of all devices.
void drain();

/// Runs `kernel` once for each thread of the grid. Throws Finding.
void run(Extent3 grid, Extent3 block, std::size_t sharedBytes, const std::function<void()>& kernel);

// What a running thread asks for -----------------------------------------------------------------

const Index3& threadIndex();
const Index3& blockIndex();
const Extent3& blockExtent();
const Extent3& gridExtent();

enum class WarpOp { Shuffle, ShuffleUp, ShuffleDown, ShuffleXor, Ballot, Any, All, Sync, Compute };
void blockBarrier(const std::source_location& at);
/// Waits for all lanes of `mask`, gives each the op's result.
std::uint64_t warpCollective(WarpOp op, unsigned mask, std::uint64_t value, int argument, int width,
                             const std::source_location& at);
/// Waits for all 32 lanes of the warp; then `compute` is called once with what each of them gave.
using WarpFunction = void (*)(void* const lanes[32]);
void warpCompute(void* lane, WarpFunction compute, const std::source_location& at);
/// Reports a defect of the running thread and ends the launch.
[[noreturn]] void report(Defect defect, const std::string& what);

/// Memory of the running block, by the address of something static in the kernel; made, filled with
/// 0xff, when the first thread asks. nullptr: the dynamic shared memory of the launch.
struct SharedBlock;
SharedBlock& sharedBlock(const void* tag, std::size_t bytes);
std::size_t sizeOf(const SharedBlock& memory);
/// Checks an access of `bytes` at `offset` and returns where it lies.
std::byte* accessShared(SharedBlock& memory, std::size_t offset, std::size_t bytes, bool write);

/// A copy of `used` bytes (and zeros up to `bytes`) to shared memory that is done at the latest
/// moment it may be: when the thread waits for its group. Until then nobody may read there. The
/// memory must be free to be written from the start, as the copy may also be done at once.
void copyLater(SharedBlock& memory, std::size_t offset, const void* from, std::size_t used,
               std::size_t bytes);
void commitCopies();
/// Waits for all groups of the running thread but the last `pending`.
void waitForCopies(int pending, const std::source_location& at);

// Memory that kernels may be given ---------------------------------------------------------------

/// Exactly `bytes` bytes, filled with options().fill; every launch checks that nothing was written
/// in front of them or behind.
void* allocateDevice(std::size_t bytes);
void freeDevice(void* memory);
/// The address lies in such memory, or just behind it.
bool isDevice(const void* address);
/// Whose memory that is; -1: no device's.
int deviceOf(const void* address);
/// The same for an argument of the work that comes next, which may then read and write there.
bool isDeviceArgument(const void* address);
/// The number of the last work (Counters::work) that was given an address in this memory; 0: none.
std::uint64_t lastWorkWith(const void* address);

}  // namespace fettle::simt
