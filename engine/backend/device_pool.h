// Device memory handed out from large pieces, so that asking for a buffer costs no call into the
// driver. Work on the device is done in the order it is queued, on one stream: memory that was
// given back may be handed out again while the work that used it still waits. Knows nothing of
// CUDA.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <utility>

namespace fettle {

/// Where the pool gets its pieces.
class DeviceMemory {
public:
    virtual ~DeviceMemory() = default;
    /// Aligned to 256 bytes; null when there is none left.
    virtual void* allocatePiece(std::size_t bytes) = 0;
    virtual void releasePiece(void* piece) = 0;
};

class DevicePool {
public:
    /// Pieces have at least `pieceBytes`; 0: each buffer is a piece of its own.
    DevicePool(DeviceMemory& memory, std::size_t pieceBytes);
    ~DevicePool();
    DevicePool(const DevicePool&) = delete;
    DevicePool& operator=(const DevicePool&) = delete;

    /// Null when there is no memory left, even after unused pieces went back. bytes > 0.
    void* allocate(std::size_t bytes);
    void release(void* memory);
    /// Gives back pieces that hold nothing.
    void trim();

    std::uint64_t used() const { return m_used; }          ///< handed out, rounded up
    std::uint64_t peak() const { return m_peak; }          ///< the most since resetPeak()
    std::uint64_t reserved() const { return m_reserved; }  ///< in pieces
    void resetPeak() { m_peak = m_used; }

private:
    struct Block {
        std::size_t bytes = 0;
        void* piece = nullptr;
        bool free = false;
    };
    using Blocks = std::map<std::uintptr_t, Block>;

    Blocks::iterator takeFree(std::size_t bytes);
    Blocks::iterator addPiece(std::size_t bytes);
    void setFree(Blocks::iterator block);
    Blocks::iterator joined(Blocks::iterator block);

    DeviceMemory& m_memory;
    std::size_t m_pieceBytes;
    Blocks m_blocks;                                          // by address, without gaps in a piece
    std::set<std::pair<std::size_t, std::uintptr_t>> m_free;  // the smallest that fits is taken
    std::map<void*, std::size_t> m_pieces;
    std::uint64_t m_used = 0, m_peak = 0, m_reserved = 0;
};

}  // namespace fettle
