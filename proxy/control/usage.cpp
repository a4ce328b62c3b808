// What was used: sums and rows of the ledger, and the state of the proxy.
#include "proxy/control/usage.hpp"

#include "metering/record.hpp"
#include "metering/reprice.hpp"
#include "proxy/control/api.hpp"
#include "proxy/control/fields.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <stdexcept>
#include <utility>

namespace keyhole::proxy::admin {
namespace {

using metering::group_by;
using nlohmann::json;

constexpr double seconds_to_flush = 1;
constexpr unsigned rows_unless_told = 50;
constexpr unsigned most_rows = 100'000;

constexpr std::array<std::pair<std::string_view, group_by>, 11> groups{{{"none", group_by::none},
                                                                        {"session", group_by::session},
                                                                        {"account", group_by::account},
                                                                        {"sandbox", group_by::sandbox},
                                                                        {"run", group_by::run},
                                                                        {"model", group_by::model},
                                                                        {"provider", group_by::provider},
                                                                        {"route", group_by::route},
                                                                        {"day", group_by::day},
                                                                        {"outcome", group_by::outcome},
                                                                        {"source", group_by::source}}};

constexpr std::array<std::pair<const char*, std::int64_t metering::token_counts::*>, 11> buckets{
    {{"input", &metering::token_counts::input},
     {"cache_read", &metering::token_counts::cache_read},
     {"cache_write_5m", &metering::token_counts::cache_write_5m},
     {"cache_write_1h", &metering::token_counts::cache_write_1h},
     {"output", &metering::token_counts::output},
     {"output_reasoning", &metering::token_counts::output_reasoning},
     {"input_audio", &metering::token_counts::input_audio},
     {"output_audio", &metering::token_counts::output_audio},
     {"input_image", &metering::token_counts::input_image},
     {"output_image", &metering::token_counts::output_image},
     {"web_searches", &metering::token_counts::web_searches}}};

group_by group_of(const std::string& name)
{
    std::string all;
    for (const auto& [text, value] : groups) {
        if (name == text) return value;
        all.append(all.empty() ? "" : ", ").append(text);
    }
    throw std::invalid_argument("by: \"" + name.substr(0, 64) + "\" is unknown (one of: " + all + ")");
}

unsigned count_of(const std::string& text)
{
    unsigned n = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), n);
    if (ec != std::errc{} || end != text.data() + text.size() || n == 0 || n > most_rows)
        throw std::invalid_argument("limit: expected a number from 1 to " + std::to_string(most_rows));
    return n;
}

/// "1700000000000000.0190…": the end and the id of the last row that an export has; "0": from the beginning.
metering::usage_query::place place_of(const std::string& text)
{
    metering::usage_query::place at;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), at.ended_us);
    const bool last = end == text.data() + text.size();
    if (ec != std::errc{} || at.ended_us < 0 || (!last && *end != '.'))
        throw std::invalid_argument("after: expected 0, or ended_us.request_id of the last row");
    if (!last) at.id.assign(end + 1, text.data() + text.size());
    return at;
}

void put_counts(json& out, const metering::token_counts& counts, std::int64_t cost_nano_usd)
{
    for (const auto& [name, field] : buckets) {
        out[name] = counts.*field;
    }
    out["total_input"] = counts.all_input();
    out["total_output"] = counts.all_output();
    out["total_tokens"] = counts.total();
    out["cost_nano_usd"] = cost_nano_usd;
    out["cost_usd"] = metering::format_usd(cost_nano_usd);
}

json sum_json(const std::string& group, const metering::usage_sum& s)
{
    json out{{"group", group},
             {"requests", s.requests},
             {"unpriced_requests", s.unpriced_requests},
             {"estimated_requests", s.estimated_requests},
             {"unknown_requests", s.unknown_requests},
             {"errors", s.errors},
             {"beyond_tokens", s.beyond_tokens}};
    put_counts(out, s.counts, s.cost_nano_usd);
    return out;
}

json row_json(const metering::record& r)
{
    const auto id = metering::format_request_id(r.request_id);
    json out{{"request_id", std::string_view(id.data(), id.size())},
             {"session", r.session.view()},
             {"account", r.account.view()},
             {"sandbox", r.sandbox.view()},
             {"run", r.run.view()},
             {"attempt", r.attempt.view()},
             {"provider", r.provider.view()},
             {"route", r.route.view()},
             {"model", r.model.view()},
             {"answered_model", r.answered_model.view()},
             {"provider_request_id", r.provider_request_id.view()},
             {"answer_id", r.answer_id.view()},
             {"service_tier", r.service_tier.view()},
             {"error", r.error.view()},
             {"price_version", r.price_version.view()},
             {"wire", metering::to_string(r.format)},
             {"usage_source", metering::to_string(r.source)},
             {"outcome", metering::to_string(r.end)},
             {"status", r.status},
             {"stream", r.stream},
             {"agent_gone", r.agent_gone},
             {"priced", r.priced},
             {"total_mismatch", r.total_mismatch},
             {"provider_cost_nano_usd", r.provider_cost_nano_usd},
             {"reserved_nano_usd", r.reserved_nano_usd},
             {"received_us", r.received_us},
             {"forwarded_us", r.forwarded_us},
             {"first_byte_us", r.first_byte_us},
             {"first_token_us", r.first_token_us},
             {"ended_us", r.ended_us},
             {"bytes_in", r.bytes_in},
             {"bytes_out", r.bytes_out},
             {"beyond_model", r.beyond_model.view()},
             {"beyond_input", r.beyond.input},
             {"beyond_cache_read", r.beyond.cache_read},
             {"beyond_cache_write_5m", r.beyond.cache_write_5m},
             {"beyond_cache_write_1h", r.beyond.cache_write_1h},
             {"beyond_output", r.beyond.output},
             {"beyond_tokens", r.beyond.total()}};
    put_counts(out, r.counts, r.cost_nano_usd);
    return out;
}

}  // namespace

std::int64_t time_of(const std::string& name, const std::string& text, std::int64_t now_us)
{
    try {
        return parse_time(text, now_us);
    } catch (const std::invalid_argument& e) {
        throw std::invalid_argument(name + ": " + e.what());
    }
}

metering::usage_query query_of(const admin_request& r, bool grouped)
{
    metering::usage_query q;
    if (!grouped) q.limit = rows_unless_told;
    const std::int64_t now_us = metering::now_us();
    for (const auto& [name, value] : r.query) {
        if (name == "by" && grouped)
            q.by = group_of(value);
        else if (name == "since")
            q.since_us = time_of(name, value, now_us);
        else if (name == "until")
            q.until_us = time_of(name, value, now_us);
        else if (name == "session")
            q.session = value;
        else if (name == "account")
            q.account = value;
        else if (name == "sandbox")
            q.sandbox = value;
        else if (name == "provider")
            q.provider = value;
        else if (name == "model")
            q.model = value;
        else if (name == "after" && !grouped)
            q.after = place_of(value);
        else if (name == "limit")
            q.limit = count_of(value);
        else
            throw std::invalid_argument("unknown parameter \"" + name.substr(0, 64) +
                                        "\" (one of: " + (grouped ? "by, " : "after, ") +
                                        "since, until, session, account, sandbox, provider, model, limit)");
    }
    if (q.since_us >= q.until_us) throw std::invalid_argument("since: is not before until");
    return q;
}

void catch_up(control_surface& c)
{
    c.books.flush(seconds_to_flush);
}

metering::price_table prices_of(const control_surface& c, const admin_request& r)
{
    metering::price_table prices;
    if (c.prices) {
        if (const auto current = c.prices()) prices = *current;
    }
    if (!r.body.empty()) {
        try {
            prices.load_keyhole_text(r.body, "prices");
        } catch (const std::runtime_error& e) {
            throw admin_error(400, e.what());
        }
    }
    return prices;
}

admin_answer usage(control_surface& c, const admin_request& r)
{
    const metering::usage_query q = query_of(r, true);
    catch_up(c);
    json out = json::array();
    for (const auto& [name, sum] : c.books.usage(q)) {
        // Without groups there is one sum, also of nothing.
        out.push_back(sum_json(name, sum));
    }
    return json_answer(200, out);
}

/// The body is a price file of Keyhole's format, laid over the prices in force; empty: those alone.
json repriced_json(const std::vector<metering::repriced>& groups)
{
    json out = json::array();
    for (const auto& g : groups) {
        out.push_back({{"provider", g.provider},
                       {"model", g.model},
                       {"requests", g.requests},
                       {"booked_nano_usd", g.booked_nano_usd},
                       {"repriced_nano_usd", g.nano_usd},
                       {"difference_nano_usd", g.nano_usd - g.booked_nano_usd},
                       {"booked_unpriced_requests", g.booked_unpriced},
                       {"repriced_unpriced_requests", g.unpriced}});
    }
    return out;
}

admin_answer reprice(control_surface& c, const admin_request& r)
{
    const metering::usage_query q = query_of(r, false);
    const metering::price_table prices = prices_of(c, r);
    catch_up(c);
    const json listed = repriced_json(metering::reprice(c.books, q, prices));
    return json_answer(200, json{{"price_version", prices.version()}, {"groups", listed}});
}

admin_answer requests(control_surface& c, const admin_request& r)
{
    const metering::usage_query q = query_of(r, false);
    catch_up(c);
    json out = json::array();
    for (const auto& row : c.books.rows(q)) {
        out.push_back(row_json(row));
    }
    return json_answer(200, out);
}

admin_answer status(control_surface& c, const admin_request&)
{
    const metering::ledger_health health = c.books.health();
    const std::string reason = c.not_ready ? c.not_ready() : std::string();
    std::int64_t in_flight = 0;
    for (const auto& s : c.registry.all()) {
        in_flight += s->budget->in_flight();
    }
    return json_answer(200, json{{"version", KEYHOLE_VERSION},
                                 {"now_us", metering::now_us()},
                                 {"ready", reason.empty()},
                                 {"reason", reason},
                                 {"sessions", c.registry.size()},
                                 {"agent_connections", c.agent_connections ? c.agent_connections() : 0},
                                 {"in_flight", in_flight},
                                 {"ledger",
                                  {{"rows_written", health.rows_written},
                                   {"commits", health.commits},
                                   {"failed_commits", health.failed_commits},
                                   {"waiting", health.waiting},
                                   {"failing", health.failing},
                                   {"last_error", health.last_error},
                                   {"chore", health.chore},
                                   {"chore_error", health.chore_error},
                                   {"rows_pruned", health.rows_pruned}}}});
}

}  // namespace keyhole::proxy::admin
