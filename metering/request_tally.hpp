// What finished requests add up to, for the metrics: plain integers in shards, a thread its own, so that
// counting a request costs one look-up and no shared cache line; they are added up when somebody scrapes.
// Thread rule: any thread.
#pragma once

#include "metering/record.hpp"

#include <prometheus/metric_family.h>

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace keyhole::metering {

class request_tally {
public:
    request_tally();
    ~request_tally();

    /// As metrics::request_ended().
    void add(const record& r, std::string_view known_model, std::int64_t overhead_us);
    void connected(std::string_view provider, bool reused);

    /// Every family that has a metric.
    std::vector<prometheus::MetricFamily> families() const;

private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

}  // namespace keyhole::metering
