// Twenty thousand experiments, so many that two connections share them, listed. Prints what it
// took; the bounds are generous, for busy machines.
#include <time.h>

#include <chrono>
#include <cstdlib>
#include <iostream>

#include "storage/transaction.h"
#include "storage_fixture.h"
#include "tests/support/fixtures.h"

namespace fettle::storage {
namespace {

double secondsSince(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Processor time of this thread: what the listing costs when nothing else wants the machine.
double processorSeconds() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

TEST_F(StorageTest, TwentyThousandExperimentsAreListedAtOnce) {
    const char* wanted = std::getenv("FETTLE_LISTING_EXPERIMENTS");
    const int count = wanted ? std::atoi(wanted) : 20'500;
    {
        Database database = Database::open(file());
        ExperimentRepository repository(database);
        Transaction transaction(database);
        RunResult result = resultOf(7);
        const std::vector<MetricInfo>& catalogue = metricCatalogue();
        for (std::size_t m = 0; result.metrics.size() < 15; ++m)
            result.metrics.push_back({catalogue[m].id, 1.0 * static_cast<double>(m),
                                      catalogue[m].unit, 0.5, 1.5, true, false,
                                      "ppl windows=256 first-unscored max-tokens=16384"});
        result.samples.clear();
        for (int i = 0; i < count; ++i) {
            RunRequest request = requestOf("int8", "/models/m" + std::to_string(i % 7));
            request.recipe.steps[0].params["damp"] = i % 2000;  // many recipes
            repository.finish(repository.create(request, "", "0.1.0"), result);
        }
        transaction.commit();
    }
    auto start = std::chrono::steady_clock::now();
    const Database database = Database::open(file());
    const double opening = secondsSince(start);
    start = std::chrono::steady_clock::now();
    const double processor = processorSeconds();
    const std::vector<ExperimentRecord> records = ExperimentReader(database).list();
    const double listing = secondsSince(start);
    const double listingProcessor = processorSeconds() - processor;
    start = std::chrono::steady_clock::now();
    EXPECT_TRUE(ExperimentReader(database).record(count / 2));
    const double one = secondsSince(start);

    ASSERT_EQ(records.size(), static_cast<std::size_t>(count));
    EXPECT_GE(records.back().metrics.size(), 13u);
    for (const ExperimentRecord& record : records)
        ASSERT_EQ(record.metrics, records.front().metrics) << record.id;
    std::cout << count << " experiments, " << std::filesystem::file_size(file()) / 1'000'000
              << " MB: opened and checked in " << opening * 1e3 << " ms, listed in "
              << listing * 1e3 << " ms (" << listingProcessor * 1e3
              << " ms of processor time), one read in " << one * 1e3 << " ms\n";
    if (!test::kSanitized) {
        EXPECT_LT(listingProcessor, 1e-4 * count);
    }
}

}  // namespace
}  // namespace fettle::storage
