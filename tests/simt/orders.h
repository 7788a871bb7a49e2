// Runs something on the emulator in every thread order; on a device, where the order cannot be
// chosen, several times.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#ifndef FETTLE_ON_GPU
#include "tests/simt/emulator/emulator.h"
#endif

namespace fettle::simt {

#ifndef FETTLE_ON_GPU
/// Sets the emulator's options for one scope.
class OptionScope {
public:
    explicit OptionScope(const Options& changed) : m_before(options()) { options() = changed; }
    ~OptionScope() { options() = m_before; }
    OptionScope(const OptionScope&) = delete;
    OptionScope& operator=(const OptionScope&) = delete;

private:
    Options m_before;
};
#endif

template <class T>
bool sameBits(const std::vector<T>& a, const std::vector<T>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

#ifndef FETTLE_ON_GPU
/// body() where device memory holds something else before it is written, and around its arrays.
template <class Body>
auto underOtherMemory(const Body& body) {
    Options other = options();
    other.fill = 0x3c;
    other.guard = 0x2b;
    const OptionScope scope(other);
    return body();
}
#endif

/// The result of body(), a vector, which must be the same bit by bit in every order and whatever
/// memory holds that nobody wrote.
template <class Body>
auto inEveryOrder(Body body) {
#ifdef FETTLE_ON_GPU
    auto first = body();
    for (int again = 0; again < 3; ++again)
        EXPECT_TRUE(sameBits(body(), first)) << "another run gave other numbers";
    return first;
#else
    auto first = [&] {
        const OptionScope scope({.order = Order::Plain});
        return body();
    }();
    for (const Order order : kOrders) {
        for (const std::uint64_t seed : {1U, 2U}) {
            if (order == Order::Plain || (seed > 1 && order != Order::Shuffled))
                continue;
            const OptionScope scope({.order = order, .seed = seed});
            EXPECT_TRUE(sameBits(body(), first)) << name(order) << " order, seed " << seed;
        }
    }
    EXPECT_TRUE(sameBits(underOtherMemory(body), first))
        << "the result depends on device memory that was never written, or beside its arrays";
    return first;
#endif
}

}  // namespace fettle::simt
