// Latency and throughput of one sequence: time to first token, prefill and decode rates,
// inter-token percentiles.
#pragma once

#include <vector>

#include "engine/core/run_control.h"
#include "engine/experiment/measurement.h"
#include "engine/model/transformer.h"

namespace fettle {

struct ThroughputOptions {
    int promptTokens = 512;
    int newTokens = 128;
    int repeats = 3;
};

/// One warm-up, then `repeats` times: prefill of a seeded random prompt, then greedy decoding of
/// `newTokens`. Rates are medians of the repeats with their range as interval; inter-token times
/// are percentiles over all tokens. Also reports weight_bytes, kv_bytes_per_token and peak_bytes
/// (resident, since the call began).
std::vector<Measurement> measureThroughput(Transformer& transformer,
                                           const ThroughputOptions& options, RunControl& control);

}  // namespace fettle
