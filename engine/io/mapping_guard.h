// Keeps the process alive when a mapped file shrinks: a SIGBUS inside a watched range maps a page
// of zeros there and marks the range; any other SIGBUS goes to the handler that was there before.
#pragma once

#include <cstddef>

namespace fettle::detail {

/// Watches [data, data + bytes). Returns a slot, or -1 when all are taken (the range then goes
/// unwatched). Thread-safe.
int watchMapping(const void* data, std::size_t bytes);
void unwatchMapping(int slot);
/// True once pages of the range have vanished.
bool mappingDamaged(int slot);

}  // namespace fettle::detail
