// Prometheus: families and handles, resolved once. Labels come from closed sets (provider names of the
// configuration, route templates, priced model names, status classes), never raw from a request: a model
// without a price counts as "other". Thread rule: any thread. Finished requests are counted apart
// (request_tally.hpp); the rare events take a mutex and a look-up each.
#pragma once

#include "metering/ledger.hpp"
#include "metering/record.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace keyhole::metering {

class metrics {
public:
    explicit metrics(std::string_view version);
    ~metrics();

    /// Asked at scrape time.
    struct gauges {
        unsigned journal_used = 0;
        unsigned journal_capacity = 0;
        ledger_health ledger;
        std::uint64_t sessions = 0;
        std::uint64_t agent_connections = 0;
        std::uint64_t upstream_idle = 0;
        std::uint64_t drains = 0;  ///< answers that are read on after their agent hung up
    };
    void set_gauges_source(std::function<gauges()> source);

    /// A forwarded request ended. `overhead_us`: time the proxy itself added (received->forwarded, plus the
    /// relay's own work). `known_model`: the priced model's name, or empty (then the label is "other").
    void request_ended(const record& r, std::string_view known_model, std::int64_t overhead_us);
    /// A request was answered by the proxy itself; `reason` is one of reply.hpp's codes (closed set).
    void refused(std::string_view provider, std::string_view reason);
    void stream_started();
    void stream_ended();
    /// An upstream connection was opened / reused / failed ("connect", "tls", "timeout", "dns").
    void upstream_connected(std::string_view provider, bool reused);
    void upstream_failed(std::string_view provider, std::string_view step);
    void key_masked(std::string_view provider);

    /// The text format, version 0.0.4.
    std::string render() const;

private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

}  // namespace keyhole::metering
