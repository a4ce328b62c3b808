#include "metering/request_tally.hpp"

#include "metering/closed_set.hpp"

#include <prometheus/client_metric.h>
#include <prometheus/metric_type.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <limits>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>

namespace keyhole::metering {

namespace {

using prometheus::MetricType;
using label_pair = std::pair<std::string_view, std::string>;
using label_list = std::vector<label_pair>;

constexpr std::size_t shards = 16;
/// Kinds of requests a shard tells apart. Their parts come from closed sets; this bounds what those multiply
/// to.
constexpr std::size_t most_kinds = 8192;
constexpr std::size_t longest_model = 96;

constexpr std::array<std::int64_t, 15> duration_bounds{
    50'000,     100'000,    250'000,    500'000,     1'000'000,   2'500'000,   5'000'000,    10'000'000,
    20'000'000, 30'000'000, 60'000'000, 120'000'000, 300'000'000, 600'000'000, 1'200'000'000};
constexpr std::array<std::int64_t, 14> answer_bounds{
    10'000,    25'000,    50'000,     100'000,    250'000,    500'000,    1'000'000,
    2'500'000, 5'000'000, 10'000'000, 20'000'000, 30'000'000, 60'000'000, 120'000'000};
constexpr std::array<std::int64_t, 12> overhead_bounds{10,   20,   50,   100,    200,     500,
                                                       1000, 2000, 5000, 20'000, 100'000, 1'000'000};

/// Microseconds, counted where they fall.
struct histogram {
    std::array<std::uint64_t, 16> counts{};  ///< the last one used: beyond every bound
    std::int64_t sum = 0;
    std::uint64_t samples = 0;

    void observe(std::span<const std::int64_t> bounds, std::int64_t value) noexcept
    {
        std::size_t i = 0;
        while (i < bounds.size() && value > bounds[i])
            ++i;
        ++counts[i];
        sum += value;
        ++samples;
    }
    void add(const histogram& more) noexcept
    {
        for (std::size_t i = 0; i < counts.size(); ++i)
            counts[i] += more.counts[i];
        sum += more.sum;
        samples += more.samples;
    }
};

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
constexpr std::size_t token_kinds = std::size(token_buckets);
constexpr std::size_t source_kinds = static_cast<std::size_t>(usage_source::provider) + 1;

void add_bounded(std::int64_t& to, std::int64_t more) noexcept
{
    if (__builtin_add_overflow(to, more, &to)) to = std::numeric_limits<std::int64_t>::max();
}

/// What requests of one kind add up to.
struct sums {
    std::uint64_t requests = 0;
    std::array<std::int64_t, token_kinds> tokens{};
    std::int64_t web_searches = 0;
    /// Money stays an integer here and becomes a double once, when it is printed: adding doubles drifts.
    std::int64_t cost_nano_usd = 0;
    std::uint64_t unpriced = 0;
    std::uint64_t mismatches = 0;
    std::array<std::uint64_t, source_kinds> sources{};
    histogram duration;
    histogram first_byte;
    histogram first_token;
    histogram overhead;

    void add(const record& r, std::int64_t overhead_us) noexcept;
    void add(const sums& more) noexcept;
};

void sums::add(const record& r, std::int64_t overhead_us) noexcept
{
    ++requests;
    for (std::size_t i = 0; i < token_kinds; ++i)
        add_bounded(tokens[i], std::max<std::int64_t>(r.counts.*token_buckets[i].second, 0));
    add_bounded(web_searches, std::max<std::int64_t>(r.counts.web_searches, 0));
    add_bounded(cost_nano_usd, std::max<std::int64_t>(r.cost_nano_usd, 0));
    unpriced += !r.priced && (r.counts.total() > 0 || r.counts.web_searches > 0 || r.beyond.total() > 0);
    mismatches += r.total_mismatch;
    ++sources[static_cast<std::size_t>(r.source) % source_kinds];
    const auto observe = [](histogram& into, std::span<const std::int64_t> bounds, std::int64_t from,
                            std::int64_t to) {
        if (from > 0 && to >= from) into.observe(bounds, to - from);
    };
    observe(duration, duration_bounds, r.received_us, r.ended_us);
    observe(first_byte, answer_bounds, r.forwarded_us, r.first_byte_us);
    observe(first_token, answer_bounds, r.forwarded_us, r.first_token_us);
    if (overhead_us >= 0) overhead.observe(overhead_bounds, overhead_us);
}

void sums::add(const sums& more) noexcept
{
    requests += more.requests;
    for (std::size_t i = 0; i < token_kinds; ++i)
        add_bounded(tokens[i], more.tokens[i]);
    add_bounded(web_searches, more.web_searches);
    add_bounded(cost_nano_usd, more.cost_nano_usd);
    unpriced += more.unpriced;
    mismatches += more.mismatches;
    for (std::size_t i = 0; i < source_kinds; ++i)
        sources[i] += more.sources[i];
    duration.add(more.duration);
    first_byte.add(more.first_byte);
    first_token.add(more.first_token);
    overhead.add(more.overhead);
}

std::string status_class(int status)
{
    if (status < 100 || status > 599) return "none";
    return std::to_string(status / 100) + "xx";
}

/// One kind of finished request, as its labels tell it.
struct kind {
    std::string provider;
    std::string route;
    std::string model;
    std::string status;
    std::string outcome;
    sums seen;
};

/// What tells one kind from another before its labels are known.
class kind_key {
public:
    kind_key(const record& r, std::string_view known_model) noexcept
    {
        add(r.provider.view());
        add(r.route.view());
        add(known_model.substr(0, longest_model));
        const std::array rest{static_cast<char>(r.status / 100), static_cast<char>(r.end)};
        add({rest.data(), rest.size()});
    }
    std::string_view view() const noexcept { return {bytes_.data(), size_}; }

private:
    void add(std::string_view part) noexcept
    {
        size_ += part.copy(bytes_.data() + size_, part.size());
        bytes_[size_++] = '\0';
    }
    std::array<char, sizeof(record::provider) + sizeof(record::route) + longest_model + 16> bytes_;
    std::size_t size_ = 0;
};

/// Look-up by a view, without making a string.
struct text_hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept
    {
        return std::hash<std::string_view>{}(text);
    }
};
template <class Value>
using by_text = std::unordered_map<std::string, Value, text_hash, std::equal_to<>>;

struct connects {
    std::string provider;
    std::array<std::uint64_t, 2> count{};  ///< new, reused
};

struct alignas(64) shard {
    mutable std::mutex mutex;  ///< its thread's, except while somebody scrapes
    by_text<kind> kinds;
    kind beyond;  ///< what does not fit any more
    by_text<connects> providers;
};

/// Threads take shards in turn, and keep theirs.
std::size_t own_shard() noexcept
{
    static std::atomic<std::size_t> next{0};
    thread_local const std::size_t mine = next.fetch_add(1, std::memory_order_relaxed) % shards;
    return mine;
}

/// Metrics of one family, added up by their labels.
template <class Value>
using by_labels = std::map<label_list, Value>;

prometheus::ClientMetric labelled(const label_list& labels)
{
    prometheus::ClientMetric m;
    for (const auto& [name, value] : labels)
        m.label.push_back({std::string(name), value});
    return m;
}

void add_counters(std::vector<prometheus::MetricFamily>& to, const char* name, const char* help,
                  const by_labels<double>& values)
{
    prometheus::MetricFamily family{name, help, MetricType::Counter, {}};
    for (const auto& [labels, value] : values) {
        if (value == 0) continue;
        family.metric.push_back(labelled(labels));
        family.metric.back().counter.value = value;
    }
    if (!family.metric.empty()) to.push_back(std::move(family));
}

void add_histograms(std::vector<prometheus::MetricFamily>& to, const char* name, const char* help,
                    std::span<const std::int64_t> bounds, const by_labels<histogram>& values)
{
    constexpr double second = 1e6;
    prometheus::MetricFamily family{name, help, MetricType::Histogram, {}};
    for (const auto& [labels, value] : values) {
        auto m = labelled(labels);
        m.histogram.sample_count = value.samples;
        m.histogram.sample_sum = static_cast<double>(value.sum) / second;
        std::uint64_t so_far = 0;
        for (std::size_t i = 0; i <= bounds.size(); ++i) {
            so_far += value.counts[i];
            const double bound = i == bounds.size() ? std::numeric_limits<double>::infinity()
                                                    : static_cast<double>(bounds[i]) / second;
            m.histogram.bucket.push_back({so_far, bound});
        }
        family.metric.push_back(std::move(m));
    }
    if (!family.metric.empty()) to.push_back(std::move(family));
}

}  // namespace

struct request_tally::impl {
    std::array<shard, shards> parts;

    std::mutex labels;  ///< the sets, taken when a kind is met for the first time
    closed_set providers{64};
    closed_set routes{256};
    closed_set models{1024};

    kind name_kind(const record& r, std::string_view known_model);
};

kind request_tally::impl::name_kind(const record& r, std::string_view known_model)
{
    const std::lock_guard lock(labels);
    kind k;
    k.provider = providers.admit(r.provider.view());
    k.route = routes.admit(r.route.view());
    k.model = models.admit(known_model);
    k.status = status_class(r.status);
    k.outcome = to_string(r.end);
    return k;
}

request_tally::request_tally() : impl_(std::make_unique<impl>())
{
    for (auto& s : impl_->parts)
        s.beyond = {.provider = "other",
                    .route = "other",
                    .model = "other",
                    .status = "none",
                    .outcome = "other",
                    .seen = {}};
}

request_tally::~request_tally() = default;

void request_tally::add(const record& r, std::string_view known_model, std::int64_t overhead_us)
{
    auto& part = impl_->parts[own_shard()];
    const kind_key key(r, known_model);
    const std::lock_guard lock(part.mutex);
    auto at = part.kinds.find(key.view());
    if (at == part.kinds.end() && part.kinds.size() < most_kinds)
        at = part.kinds.emplace(key.view(), impl_->name_kind(r, known_model)).first;
    auto& into = at == part.kinds.end() ? part.beyond : at->second;
    into.seen.add(r, overhead_us);
}

void request_tally::connected(std::string_view provider, bool reused)
{
    auto& part = impl_->parts[own_shard()];
    const std::lock_guard lock(part.mutex);
    auto at = part.providers.find(provider);
    if (at == part.providers.end()) {
        const std::lock_guard naming(impl_->labels);
        const auto name = impl_->providers.admit(provider);
        at = part.providers.emplace(name == provider ? provider : name, connects{name, {}}).first;
    }
    ++at->second.count[reused ? 1 : 0];
}

std::vector<prometheus::MetricFamily> request_tally::families() const
{
    // The kinds of all threads, then what the families' fewer labels make of them.
    std::map<std::array<std::string, 5>, sums> kinds;
    by_labels<double> connections;
    for (const auto& part : impl_->parts) {
        const std::lock_guard lock(part.mutex);
        const auto take = [&](const kind& k) {
            if (k.seen.requests != 0) kinds[{k.provider, k.model, k.route, k.status, k.outcome}].add(k.seen);
        };
        for (const auto& [key, k] : part.kinds)
            take(k);
        take(part.beyond);
        for (const auto& [name, c] : part.providers)
            for (const bool reused : {false, true})
                connections[{{"provider", c.provider}, {"reused", reused ? "true" : "false"}}] +=
                    static_cast<double>(c.count[reused ? 1 : 0]);
    }
    by_labels<double> requests;
    by_labels<double> tokens;
    by_labels<double> searches;
    by_labels<std::int64_t> nano_usd;
    by_labels<double> unpriced;
    by_labels<double> mismatches;
    by_labels<double> sources;
    by_labels<histogram> duration;
    by_labels<histogram> first_byte;
    by_labels<histogram> first_token;
    by_labels<histogram> overhead;
    for (const auto& [labels, s] : kinds) {
        const auto& [provider, model, route, status, outcome] = labels;
        requests[{{"model", model},
                  {"outcome", outcome},
                  {"provider", provider},
                  {"route", route},
                  {"status", status}}] += static_cast<double>(s.requests);
        for (std::size_t i = 0; i < token_kinds; ++i)
            tokens[{{"bucket", token_buckets[i].first}, {"model", model}, {"provider", provider}}] +=
                static_cast<double>(s.tokens[i]);
        searches[{{"model", model}, {"provider", provider}}] += static_cast<double>(s.web_searches);
        add_bounded(nano_usd[{{"provider", provider}, {"model", model}}], s.cost_nano_usd);
        unpriced[{{"provider", provider}}] += static_cast<double>(s.unpriced);
        mismatches[{{"provider", provider}}] += static_cast<double>(s.mismatches);
        for (std::size_t i = 0; i < source_kinds; ++i)
            sources[{{"source", std::string(to_string(static_cast<usage_source>(i)))}}] +=
                static_cast<double>(s.sources[i]);
        const auto observed = [&](by_labels<histogram>& to, const histogram& h) {
            if (h.samples != 0) to[{{"provider", provider}}].add(h);
        };
        observed(duration, s.duration);
        observed(first_byte, s.first_byte);
        observed(first_token, s.first_token);
        overhead[{}].add(s.overhead);
    }
    overhead.try_emplace(label_list{});  // there from the start
    by_labels<double> usd;
    for (const auto& [labels, nano] : nano_usd)
        usd[labels] = static_cast<double>(nano) / 1e9;

    std::vector<prometheus::MetricFamily> out;
    add_counters(out, "keyhole_requests_total",
                 "Requests that were forwarded to a provider, by how they ended.", requests);
    add_counters(out, "keyhole_tokens_total", "Tokens used, in the disjoint buckets that providers bill.",
                 tokens);
    add_counters(out, "keyhole_web_searches_total", "Web searches that providers ran and billed.", searches);
    add_counters(out, "keyhole_cost_usd_total", "Cost of priced requests in US dollars.", usd);
    add_counters(out, "keyhole_usage_source_total", "Requests by how their token counts are known.", sources);
    add_counters(out, "keyhole_unpriced_requests_total",
                 "Requests that used tokens of a model without a known price.", unpriced);
    add_counters(out, "keyhole_usage_total_mismatches_total",
                 "Answers whose own token total differs from the sum of its parts.", mismatches);
    add_counters(out, "keyhole_upstream_connections_total",
                 "Connections to providers taken for a request, new or reused.", connections);
    add_histograms(out, "keyhole_request_duration_seconds", "From a request's head to its answer's end.",
                   duration_bounds, duration);
    add_histograms(out, "keyhole_time_to_first_byte_seconds",
                   "From the first byte sent to the provider to the first byte of its answer.", answer_bounds,
                   first_byte);
    add_histograms(out, "keyhole_time_to_first_token_seconds",
                   "From the first byte sent to the provider to the first body byte of a good answer.",
                   answer_bounds, first_token);
    add_histograms(out, "keyhole_overhead_seconds", "Time that Keyhole itself added to a request.",
                   overhead_bounds, overhead);
    return out;
}

}  // namespace keyhole::metering
