// The ledger's tables: their SQL, how a record becomes a row and a row a record, and what a row adds to the
// roll-ups. The readers (ledger_queries.cpp) and the writer (ledger.cpp) both stand on this one description.
// Thread rule: plain functions over the caller's connection.
#pragma once

#include "metering/ledger.hpp"
#include "metering/record.hpp"
#include "metering/sqlite.hpp"

#include <string>
#include <string_view>

namespace keyhole::metering::schema {

inline constexpr std::int64_t hour_us = 3'600'000'000;
inline constexpr std::int64_t day_us = 24 * hour_us;

/// Objects that a provider stores can be asked for again: whose they are, and that they were billed. Other
/// answers' ids are never asked for. In these words in every query, or the index of such ids is not used.
/// Not an IN: SQLite would fill a table with its list for each row that is inserted.
inline constexpr const char* stored_objects =
    "answer_id <> '' AND (wire = 'none' OR wire = 'openai_responses' OR wire = 'openai_assistants' OR wire = "
    "'anthropic_batch_results' OR wire = 'gemini_interactions' OR wire = 'openai_batch' OR "
    "wire = 'openai_batch_results')";

/// Creates the tables, or brings those of an older version up to date. Throws std::runtime_error where the
/// file belongs to another program or a newer version.
void migrate(sqlite::connection& db, const std::string& path);

/// Calls visit(column, field) for each stored field in the order of the columns; of several records,
/// visit(column, the field of the first, of the second, …).
template <class Visitor, class... Record>
void each_field(Visitor&& visit, Record&... r)
{
    visit("request_id", r.request_id...);
    visit("session", r.session...);
    visit("account", r.account...);
    visit("sandbox", r.sandbox...);
    visit("run", r.run...);
    visit("attempt", r.attempt...);
    visit("provider", r.provider...);
    visit("route", r.route...);
    visit("model", r.model...);
    visit("answered_model", r.answered_model...);
    visit("provider_request_id", r.provider_request_id...);
    visit("answer_id", r.answer_id...);
    visit("service_tier", r.service_tier...);
    visit("error", r.error...);
    visit("price_version", r.price_version...);
    visit("wire", r.format...);
    visit("source", r.source...);
    visit("outcome", r.end...);
    visit("stream", r.stream...);
    visit("agent_gone", r.agent_gone...);
    visit("priced", r.priced...);
    visit("total_mismatch", r.total_mismatch...);
    visit("status", r.status...);
    visit("input", r.counts.input...);
    visit("cache_read", r.counts.cache_read...);
    visit("cache_write_5m", r.counts.cache_write_5m...);
    visit("cache_write_1h", r.counts.cache_write_1h...);
    visit("output", r.counts.output...);
    visit("output_reasoning", r.counts.output_reasoning...);
    visit("input_audio", r.counts.input_audio...);
    visit("output_audio", r.counts.output_audio...);
    visit("input_image", r.counts.input_image...);
    visit("output_image", r.counts.output_image...);
    visit("web_searches", r.counts.web_searches...);
    visit("cost_nano_usd", r.cost_nano_usd...);
    visit("provider_cost_nano_usd", r.provider_cost_nano_usd...);
    visit("reserved_nano_usd", r.reserved_nano_usd...);
    visit("received_us", r.received_us...);
    visit("forwarded_us", r.forwarded_us...);
    visit("first_byte_us", r.first_byte_us...);
    visit("first_token_us", r.first_token_us...);
    visit("ended_us", r.ended_us...);
    visit("bytes_in", r.bytes_in...);
    visit("bytes_out", r.bytes_out...);
    visit("beyond_model", r.beyond_model...);
    visit("beyond_input", r.beyond.input...);
    visit("beyond_cache_read", r.beyond.cache_read...);
    visit("beyond_cache_write_5m", r.beyond.cache_write_5m...);
    visit("beyond_cache_write_1h", r.beyond.cache_write_1h...);
    visit("beyond_output", r.beyond.output...);
}

/// The sums of a roll-up in the order of its columns.
template <class Sum, class Visitor>
void each_sum(Sum& s, Visitor&& visit)
{
    visit("requests", s.requests);
    visit("input", s.counts.input);
    visit("cache_read", s.counts.cache_read);
    visit("cache_write_5m", s.counts.cache_write_5m);
    visit("cache_write_1h", s.counts.cache_write_1h);
    visit("output", s.counts.output);
    visit("output_reasoning", s.counts.output_reasoning);
    visit("input_audio", s.counts.input_audio);
    visit("output_audio", s.counts.output_audio);
    visit("input_image", s.counts.input_image);
    visit("output_image", s.counts.output_image);
    visit("web_searches", s.counts.web_searches);
    visit("beyond_tokens", s.beyond_tokens);
    visit("cost_nano_usd", s.cost_nano_usd);
    visit("unpriced_requests", s.unpriced_requests);
    visit("estimated_requests", s.estimated_requests);
    visit("unknown_requests", s.unknown_requests);
    visit("errors", s.errors);
}

/// "request_id, session, …"
const std::string& row_columns();
int row_column_count();
/// INSERT of one row; a request id that is there already changes nothing.
std::string insert_row();
/// INSERT of so many rows, none of which may be there already: that ends the transaction.
std::string insert_rows(std::size_t count);
/// From a SELECT whose columns begin with row_columns().
record read_row(const sqlite::statement& s);

/// What one row adds to the sums of its hour and day.
usage_sum sum_of(const record& r) noexcept;
void add(usage_sum& to, const usage_sum& more) noexcept;
/// Had usage, but no price.
bool is_unpriced(const record& r) noexcept;
/// The model that a row is counted under: the requested one, or what answered where the request named none.
std::string_view counted_model(const record& r) noexcept;
inline constexpr const char* counted_model_sql = "CASE WHEN model = '' THEN answered_model ELSE model END";

}  // namespace keyhole::metering::schema
