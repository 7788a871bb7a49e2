// The proof that barriers are missed when they are gone.
#pragma once

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tests/simt/orders.h"

#ifndef FETTLE_ON_GPU

namespace fettle::simt {

/// Runs `body` with each barrier gone, by site and one by one, and demands that the memory check
/// notices.
template <class Body>
void expectEveryBarrierNeeded(const std::string& what, const Body& body) {
    barriersSeen().clear();
    mostPasses() = 0;
    body();
    const std::set<Site> sites = barriersSeen();
    const unsigned passes = mostPasses();
    ASSERT_FALSE(sites.empty()) << what;
    const auto expectNoticed = [&](Options mutation, const std::string& which) {
        for (const Order order : kOrders) {
            mutation.order = order;
            const OptionScope scope(mutation);
            EXPECT_THROW(body(), Finding)
                << what << " without " << which << ", " << name(order) << " order";
        }
    };
    for (const Site& site : sites)
        expectNoticed({.droppedBarrier = site}, "the barrier at " + text(site));
    for (unsigned pass = 0; pass < passes; ++pass)
        expectNoticed({.droppedPass = pass}, "barrier number " + std::to_string(pass));
}

/// The same where barriers keep accesses to global memory apart, which is not watched: without each
/// of them the memory check notices, or the result of `body`, a vector, is another one in some
/// order.
template <class Body>
void expectEveryBarrierFelt(const std::string& what, const Body& body) {
    barriersSeen().clear();
    const auto right = body();
    const std::set<Site> sites = barriersSeen();
    ASSERT_FALSE(sites.empty()) << what;
    for (const Site& site : sites) {
        bool felt = false;
        for (const Order order : kOrders) {
            const OptionScope scope({.order = order, .droppedBarrier = site});
            try {
                felt = felt || !sameBits(body(), right);
            } catch (const Finding&) {
                felt = true;
            }
        }
        EXPECT_TRUE(felt) << what << " without the barrier at " << text(site);
    }
}

}  // namespace fettle::simt

#endif
