#include "engine/backend/device_pool.h"

#include <algorithm>

namespace fettle {

namespace {
constexpr std::size_t kAlignment = 256;
}

DevicePool::DevicePool(DeviceMemory& memory, std::size_t pieceBytes)
    : m_memory(memory), m_pieceBytes(pieceBytes) {}

DevicePool::~DevicePool() {
    for (const auto& [piece, bytes] : m_pieces)
        m_memory.releasePiece(piece);
}

void* DevicePool::allocate(std::size_t bytes) {
    // Without large pieces a buffer has its exact size, so that reads behind it can be noticed.
    const std::size_t rounded =
        m_pieceBytes > 0 ? (bytes + kAlignment - 1) / kAlignment * kAlignment : bytes;
    Blocks::iterator block = takeFree(rounded);
    if (block == m_blocks.end())
        block = addPiece(rounded);
    if (block == m_blocks.end())
        return nullptr;
    if (const std::size_t rest = block->second.bytes - rounded; rest > 0) {
        block->second.bytes = rounded;
        setFree(
            m_blocks.insert({block->first + rounded, {rest, block->second.piece, false}}).first);
    }
    m_used += rounded;
    m_peak = std::max(m_peak, m_used);
    return reinterpret_cast<void*>(block->first);
}

void DevicePool::release(void* memory) {
    const auto block = m_blocks.find(reinterpret_cast<std::uintptr_t>(memory));
    m_used -= block->second.bytes;
    setFree(joined(block));
    if (m_pieceBytes == 0)
        trim();
}

void DevicePool::trim() {
    for (auto piece = m_pieces.begin(); piece != m_pieces.end();) {
        const auto address = reinterpret_cast<std::uintptr_t>(piece->first);
        const auto block = m_blocks.find(address);
        if (!block->second.free || block->second.bytes != piece->second) {
            ++piece;
            continue;
        }
        m_free.erase({block->second.bytes, address});
        m_blocks.erase(block);
        m_reserved -= piece->second;
        m_memory.releasePiece(piece->first);
        piece = m_pieces.erase(piece);
    }
}

DevicePool::Blocks::iterator DevicePool::takeFree(std::size_t bytes) {
    const auto fit = m_free.lower_bound({bytes, 0});
    if (fit == m_free.end())
        return m_blocks.end();
    const auto block = m_blocks.find(fit->second);
    m_free.erase(fit);
    block->second.free = false;
    return block;
}

DevicePool::Blocks::iterator DevicePool::addPiece(std::size_t bytes) {
    std::size_t size = std::max(bytes, m_pieceBytes);
    void* piece = m_memory.allocatePiece(size);
    if (!piece) {
        trim();
        // The last memory of a device goes in pieces of just the size.
        piece = m_memory.allocatePiece(size = bytes);
    }
    if (!piece)
        return m_blocks.end();
    m_pieces[piece] = size;
    m_reserved += size;
    return m_blocks.insert({reinterpret_cast<std::uintptr_t>(piece), {size, piece, false}}).first;
}

void DevicePool::setFree(Blocks::iterator block) {
    block->second.free = true;
    m_free.insert({block->second.bytes, block->first});
}

/// `block` together with its free neighbours of the same piece.
DevicePool::Blocks::iterator DevicePool::joined(Blocks::iterator block) {
    const auto swallow = [&](Blocks::iterator into, Blocks::iterator next) {
        into->second.bytes += next->second.bytes;
        m_blocks.erase(next);
    };
    if (const auto next = std::next(block);
        next != m_blocks.end() && next->second.free && next->second.piece == block->second.piece) {
        m_free.erase({next->second.bytes, next->first});
        swallow(block, next);
    }
    if (block == m_blocks.begin())
        return block;
    const auto before = std::prev(block);
    if (!before->second.free || before->second.piece != block->second.piece)
        return block;
    m_free.erase({before->second.bytes, before->first});
    swallow(before, block);
    return before;
}

}  // namespace fettle
