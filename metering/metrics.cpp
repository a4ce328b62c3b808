#include "metering/metrics.hpp"

#include "metering/closed_set.hpp"
#include "metering/request_tally.hpp"

#include <prometheus/client_metric.h>
#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/metric_family.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <sstream>
#include <utility>
#include <vector>

namespace keyhole::metering {

namespace {

using labels = std::map<std::string, std::string>;

prometheus::MetricFamily single(const char* name, const char* help, prometheus::MetricType type, double value)
{
    prometheus::ClientMetric m;
    (type == prometheus::MetricType::Counter ? m.counter.value : m.gauge.value) = value;
    return {name, help, type, {m}};
}

}  // namespace

struct metrics::impl {
    explicit impl(std::string_view version);

    std::vector<prometheus::MetricFamily> exact_families() const;

    request_tally tally;
    prometheus::Registry registry;
    prometheus::Family<prometheus::Counter>& refusals;
    prometheus::Family<prometheus::Counter>& failures;
    prometheus::Family<prometheus::Counter>& masked;
    prometheus::Gauge& streams;

    mutable std::mutex mutex;  ///< the sets and the source
    closed_set providers{64};
    closed_set reasons{64};
    closed_set steps{16};
    std::function<gauges()> source;
};

metrics::impl::impl(std::string_view version)
    : refusals(prometheus::BuildCounter()
                   .Name("keyhole_refusals_total")
                   .Help("Requests that Keyhole answered itself, by reason.")
                   .Register(registry))
    , failures(prometheus::BuildCounter()
                   .Name("keyhole_upstream_failures_total")
                   .Help("Connections to providers that failed, by step.")
                   .Register(registry))
    , masked(prometheus::BuildCounter()
                 .Name("keyhole_keys_masked_total")
                 .Help("Answers in which a provider echoed its key and it was masked.")
                 .Register(registry))
    , streams(prometheus::BuildGauge()
                  .Name("keyhole_streams_in_flight")
                  .Help("Streamed answers that are running now.")
                  .Register(registry)
                  .Add({}))
{
    prometheus::BuildGauge()
        .Name("keyhole_build_info")
        .Help("The version that runs; its value is always 1.")
        .Register(registry)
        .Add({{"version", std::string(version)}})
        .Set(1);
}

/// What is not counted by prometheus-cpp: finished requests, and what others know.
std::vector<prometheus::MetricFamily> metrics::impl::exact_families() const
{
    using prometheus::MetricType;
    std::vector<prometheus::MetricFamily> families = tally.families();
    std::function<gauges()> ask;
    {
        const std::lock_guard lock(mutex);
        ask = source;
    }
    if (!ask) return families;
    const gauges now = ask();
    const auto count = [&](const char* name, const char* help, std::uint64_t value) {
        families.push_back(single(name, help, MetricType::Counter, static_cast<double>(value)));
    };
    const auto gauge = [&](const char* name, const char* help, double value) {
        families.push_back(single(name, help, MetricType::Gauge, value));
    };
    count("keyhole_ledger_rows_total", "Rows written to the ledger.", now.ledger.rows_written);
    count("keyhole_ledger_commits_total", "Transactions committed to the ledger.", now.ledger.commits);
    count("keyhole_ledger_failed_commits_total", "Transactions that failed and were tried again.",
          now.ledger.failed_commits);
    gauge("keyhole_ledger_rows_waiting", "Finished requests whose rows are not committed yet.",
          static_cast<double>(now.ledger.waiting));
    gauge("keyhole_ledger_failing", "1 while the last commit failed.", now.ledger.failing ? 1 : 0);
    gauge("keyhole_journal_slots_used", "Slots of the in-flight journal in use.", now.journal_used);
    gauge("keyhole_journal_slots", "Slots of the in-flight journal in all.", now.journal_capacity);
    gauge("keyhole_sessions", "Sessions that exist.", static_cast<double>(now.sessions));
    gauge("keyhole_agent_connections", "Connections of agents that are open.",
          static_cast<double>(now.agent_connections));
    gauge("keyhole_drains_in_flight", "Answers read on for their usage after their agent hung up.",
          static_cast<double>(now.drains));
    gauge("keyhole_upstream_idle_connections", "Connections to providers kept for reuse.",
          static_cast<double>(now.upstream_idle));
    return families;
}

metrics::metrics(std::string_view version) : impl_(std::make_unique<impl>(version)) {}

metrics::~metrics() = default;

void metrics::set_gauges_source(std::function<gauges()> source)
{
    const std::lock_guard lock(impl_->mutex);
    impl_->source = std::move(source);
}

void metrics::request_ended(const record& r, std::string_view known_model, std::int64_t overhead_us)
{
    impl_->tally.add(r, known_model, overhead_us);
}

void metrics::refused(std::string_view provider, std::string_view reason)
{
    labels l;
    {
        const std::lock_guard lock(impl_->mutex);
        l = {{"provider", impl_->providers.admit(provider)}, {"reason", impl_->reasons.admit(reason)}};
    }
    impl_->refusals.Add(l).Increment();
}

void metrics::stream_started()
{
    impl_->streams.Increment();
}

void metrics::stream_ended()
{
    impl_->streams.Decrement();
}

void metrics::upstream_connected(std::string_view provider, bool reused)
{
    impl_->tally.connected(provider, reused);
}

void metrics::upstream_failed(std::string_view provider, std::string_view step)
{
    labels l;
    {
        const std::lock_guard lock(impl_->mutex);
        l = {{"provider", impl_->providers.admit(provider)}, {"step", impl_->steps.admit(step)}};
    }
    impl_->failures.Add(l).Increment();
}

void metrics::key_masked(std::string_view provider)
{
    labels l;
    {
        const std::lock_guard lock(impl_->mutex);
        l = {{"provider", impl_->providers.admit(provider)}};
    }
    impl_->masked.Add(l).Increment();
}

std::string metrics::render() const
{
    std::vector<prometheus::MetricFamily> families = impl_->registry.Collect();
    // A family without a metric yet would print as help alone.
    std::erase_if(families, [](const prometheus::MetricFamily& f) { return f.metric.empty(); });
    std::ranges::move(impl_->exact_families(), std::back_inserter(families));
    std::ranges::sort(families, {}, &prometheus::MetricFamily::name);
    std::ostringstream text;
    prometheus::TextSerializer().Serialize(text, families);
    return std::move(text).str();
}

}  // namespace keyhole::metering
