#include "metering/metrics.hpp"

#include <prometheus/client_metric.h>
#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/metric_family.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <initializer_list>
#include <map>
#include <mutex>
#include <set>
#include <sstream>
#include <utility>
#include <vector>

namespace keyhole::metering {

namespace {

using labels = std::map<std::string, std::string>;

constexpr double micro = 1e-6;

const prometheus::Histogram::BucketBoundaries duration_buckets{0.05, 0.1, 0.25, 0.5, 1,   2.5, 5,   10,
                                                               20,   30,  60,   120, 300, 600, 1200};
const prometheus::Histogram::BucketBoundaries answer_buckets{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
                                                             2.5,  5,     10,   20,  30,   60,  120};
const prometheus::Histogram::BucketBoundaries overhead_buckets{
    10 * micro,   20 * micro,   50 * micro,   100 * micro, 200 * micro, 500 * micro,
    1000 * micro, 2000 * micro, 5000 * micro, 0.02,        0.1,         1};

/// A label that may take so many values and no more, whatever reaches it.
class closed_set {
public:
    explicit closed_set(std::size_t most) : most_(most) {}
    std::string admit(std::string_view value)
    {
        if (value.empty()) return "other";
        const auto known = seen_.find(value);
        if (known != seen_.end()) return *known;
        if (seen_.size() >= most_) return "other";
        return *seen_.emplace(value).first;
    }

private:
    std::size_t most_;
    std::set<std::string, std::less<>> seen_;
};

std::string status_class(int status)
{
    if (status < 100 || status > 599) return "none";
    return std::to_string(status / 100) + "xx";
}

constexpr std::pair<const char*, std::int64_t token_counts::*> token_buckets[] = {
    {"input", &token_counts::input},
    {"cache_read", &token_counts::cache_read},
    {"cache_write_5m", &token_counts::cache_write_5m},
    {"cache_write_1h", &token_counts::cache_write_1h},
    {"output", &token_counts::output},
    {"output_reasoning", &token_counts::output_reasoning},
    {"input_audio", &token_counts::input_audio},
    {"output_audio", &token_counts::output_audio},
    {"input_image", &token_counts::input_image},
    {"output_image", &token_counts::output_image},
};

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

    prometheus::Registry registry;
    prometheus::Family<prometheus::Counter>& requests;
    prometheus::Family<prometheus::Counter>& tokens;
    prometheus::Family<prometheus::Counter>& web_searches;
    prometheus::Family<prometheus::Counter>& refusals;
    prometheus::Family<prometheus::Counter>& sources;
    prometheus::Family<prometheus::Counter>& unpriced;
    prometheus::Family<prometheus::Counter>& mismatches;
    prometheus::Family<prometheus::Counter>& connects;
    prometheus::Family<prometheus::Counter>& failures;
    prometheus::Family<prometheus::Counter>& masked;
    prometheus::Family<prometheus::Histogram>& duration;
    prometheus::Family<prometheus::Histogram>& first_byte;
    prometheus::Family<prometheus::Histogram>& first_token;
    prometheus::Histogram& overhead;
    prometheus::Gauge& streams;

    mutable std::mutex mutex;  ///< the sets, the money and the source
    closed_set providers{64};
    closed_set routes{256};
    closed_set models{1024};
    closed_set reasons{64};
    closed_set steps{16};
    /// Money stays an integer here and becomes a double once, when it is printed: adding doubles drifts.
    std::map<std::pair<std::string, std::string>, std::int64_t> cost_nano_usd;
    std::function<gauges()> source;
};

metrics::impl::impl(std::string_view version)
    : requests(prometheus::BuildCounter()
                   .Name("keyhole_requests_total")
                   .Help("Requests that were forwarded to a provider, by how they ended.")
                   .Register(registry))
    , tokens(prometheus::BuildCounter()
                 .Name("keyhole_tokens_total")
                 .Help("Tokens used, in the disjoint buckets that providers bill.")
                 .Register(registry))
    , web_searches(prometheus::BuildCounter()
                       .Name("keyhole_web_searches_total")
                       .Help("Web searches that providers ran and billed.")
                       .Register(registry))
    , refusals(prometheus::BuildCounter()
                   .Name("keyhole_refusals_total")
                   .Help("Requests that Keyhole answered itself, by reason.")
                   .Register(registry))
    , sources(prometheus::BuildCounter()
                  .Name("keyhole_usage_source_total")
                  .Help("Requests by how their token counts are known.")
                  .Register(registry))
    , unpriced(prometheus::BuildCounter()
                   .Name("keyhole_unpriced_requests_total")
                   .Help("Requests that used tokens of a model without a known price.")
                   .Register(registry))
    , mismatches(prometheus::BuildCounter()
                     .Name("keyhole_usage_total_mismatches_total")
                     .Help("Answers whose own token total differs from the sum of its parts.")
                     .Register(registry))
    , connects(prometheus::BuildCounter()
                   .Name("keyhole_upstream_connections_total")
                   .Help("Connections to providers taken for a request, new or reused.")
                   .Register(registry))
    , failures(prometheus::BuildCounter()
                   .Name("keyhole_upstream_failures_total")
                   .Help("Connections to providers that failed, by step.")
                   .Register(registry))
    , masked(prometheus::BuildCounter()
                 .Name("keyhole_keys_masked_total")
                 .Help("Answers in which a provider echoed its key and it was masked.")
                 .Register(registry))
    , duration(prometheus::BuildHistogram()
                   .Name("keyhole_request_duration_seconds")
                   .Help("From a request's head to its answer's end.")
                   .Register(registry))
    , first_byte(prometheus::BuildHistogram()
                     .Name("keyhole_time_to_first_byte_seconds")
                     .Help("From the first byte sent to the provider to the first byte of its answer.")
                     .Register(registry))
    , first_token(
          prometheus::BuildHistogram()
              .Name("keyhole_time_to_first_token_seconds")
              .Help("From the first byte sent to the provider to the first body byte of a good answer.")
              .Register(registry))
    , overhead(prometheus::BuildHistogram()
                   .Name("keyhole_overhead_seconds")
                   .Help("Time that Keyhole itself added to a request.")
                   .Register(registry)
                   .Add({}, overhead_buckets))
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

/// What is not counted by prometheus-cpp: money, and what others know.
std::vector<prometheus::MetricFamily> metrics::impl::exact_families() const
{
    using prometheus::MetricType;
    std::vector<prometheus::MetricFamily> families;
    std::function<gauges()> ask;
    {
        const std::lock_guard lock(mutex);
        ask = source;
        prometheus::MetricFamily money{
            "keyhole_cost_usd_total", "Cost of priced requests in US dollars.", MetricType::Counter, {}};
        for (const auto& [key, nano] : cost_nano_usd) {
            prometheus::ClientMetric m;
            m.label = {{"provider", key.first}, {"model", key.second}};
            m.counter.value = static_cast<double>(nano) / 1e9;
            money.metric.push_back(std::move(m));
        }
        if (!money.metric.empty()) families.push_back(std::move(money));
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
    impl& m = *impl_;
    std::string provider;
    std::string route;
    std::string model;
    {
        const std::lock_guard lock(m.mutex);
        provider = m.providers.admit(r.provider.view());
        route = m.routes.admit(r.route.view());
        model = m.models.admit(known_model);
        if (r.cost_nano_usd > 0) {
            std::int64_t& total = m.cost_nano_usd[{provider, model}];
            if (__builtin_add_overflow(total, r.cost_nano_usd, &total)) total = INT64_MAX;
        }
    }
    m.requests
        .Add({{"provider", provider},
              {"route", route},
              {"model", model},
              {"status", status_class(r.status)},
              {"outcome", std::string(to_string(r.end))}})
        .Increment();
    for (const auto& [bucket, field] : token_buckets) {
        const std::int64_t n = r.counts.*field;
        if (n > 0)
            m.tokens.Add({{"provider", provider}, {"model", model}, {"bucket", bucket}})
                .Increment(static_cast<double>(n));
    }
    if (r.counts.web_searches > 0) {
        m.web_searches.Add({{"provider", provider}, {"model", model}})
            .Increment(static_cast<double>(r.counts.web_searches));
    }
    m.sources.Add({{"source", std::string(to_string(r.source))}}).Increment();
    if (!r.priced && (r.counts.total() > 0 || r.counts.web_searches > 0 || r.beyond.total() > 0))
        m.unpriced.Add({{"provider", provider}}).Increment();
    if (r.total_mismatch) m.mismatches.Add({{"provider", provider}}).Increment();

    const auto observe = [&](prometheus::Family<prometheus::Histogram>& family, const auto& bounds,
                             std::int64_t from, std::int64_t to) {
        if (from > 0 && to >= from)
            family.Add({{"provider", provider}}, bounds).Observe(static_cast<double>(to - from) * micro);
    };
    observe(m.duration, duration_buckets, r.received_us, r.ended_us);
    observe(m.first_byte, answer_buckets, r.forwarded_us, r.first_byte_us);
    observe(m.first_token, answer_buckets, r.forwarded_us, r.first_token_us);
    if (overhead_us >= 0) m.overhead.Observe(static_cast<double>(overhead_us) * micro);
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
    labels l;
    {
        const std::lock_guard lock(impl_->mutex);
        l = {{"provider", impl_->providers.admit(provider)}, {"reused", reused ? "true" : "false"}};
    }
    impl_->connects.Add(l).Increment();
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
