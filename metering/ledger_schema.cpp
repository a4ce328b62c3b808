#include "metering/ledger_schema.hpp"

#include "metering/rollups.hpp"

#include <algorithm>
#include <concepts>
#include <stdexcept>

namespace keyhole::metering::schema {

namespace {

/// "KHLG": marks the file as a ledger, so that another program's database is never written to.
constexpr std::int64_t application_id = 0x4B484C47;
constexpr std::int64_t newest_version = 3;

// Version 1. Never edited once released: a change is a further step in migrate().
constexpr const char* version_1 = R"sql(
CREATE TABLE requests (
    id INTEGER PRIMARY KEY,
    request_id BLOB NOT NULL UNIQUE,
    session TEXT NOT NULL, account TEXT NOT NULL, sandbox TEXT NOT NULL, run TEXT NOT NULL, attempt TEXT NOT NULL,
    provider TEXT NOT NULL, route TEXT NOT NULL, model TEXT NOT NULL, answered_model TEXT NOT NULL,
    provider_request_id TEXT NOT NULL, answer_id TEXT NOT NULL, service_tier TEXT NOT NULL, error TEXT NOT NULL,
    price_version TEXT NOT NULL, wire TEXT NOT NULL, source TEXT NOT NULL, outcome TEXT NOT NULL,
    stream INTEGER NOT NULL, agent_gone INTEGER NOT NULL, priced INTEGER NOT NULL, total_mismatch INTEGER NOT NULL,
    status INTEGER NOT NULL,
    input INTEGER NOT NULL, cache_read INTEGER NOT NULL, cache_write_5m INTEGER NOT NULL, cache_write_1h INTEGER NOT NULL,
    output INTEGER NOT NULL, output_reasoning INTEGER NOT NULL, input_audio INTEGER NOT NULL, output_audio INTEGER NOT NULL,
    input_image INTEGER NOT NULL, output_image INTEGER NOT NULL, web_searches INTEGER NOT NULL,
    cost_nano_usd INTEGER NOT NULL, provider_cost_nano_usd INTEGER NOT NULL, reserved_nano_usd INTEGER NOT NULL,
    received_us INTEGER NOT NULL, forwarded_us INTEGER NOT NULL, first_byte_us INTEGER NOT NULL,
    first_token_us INTEGER NOT NULL, ended_us INTEGER NOT NULL,
    bytes_in INTEGER NOT NULL, bytes_out INTEGER NOT NULL
) STRICT;
CREATE INDEX requests_by_time ON requests (ended_us);
CREATE INDEX requests_by_session ON requests (session, ended_us);
CREATE INDEX requests_by_account ON requests (account, ended_us) WHERE account <> '';
CREATE INDEX requests_by_sandbox ON requests (sandbox, ended_us) WHERE sandbox <> '';
CREATE INDEX requests_by_answer ON requests (answer_id) WHERE answer_id <> '';
)sql";

// Version 1 had roll-ups, too: version 2 makes them anew from the rows, none of which had been pruned by
// then.
constexpr const char* from_1_to_2 = R"sql(
DROP TABLE IF EXISTS usage_hourly;
DROP TABLE IF EXISTS usage_daily;
ALTER TABLE requests ADD COLUMN beyond_model TEXT NOT NULL DEFAULT '';
ALTER TABLE requests ADD COLUMN beyond_input INTEGER NOT NULL DEFAULT 0;
ALTER TABLE requests ADD COLUMN beyond_cache_read INTEGER NOT NULL DEFAULT 0;
ALTER TABLE requests ADD COLUMN beyond_cache_write_5m INTEGER NOT NULL DEFAULT 0;
ALTER TABLE requests ADD COLUMN beyond_cache_write_1h INTEGER NOT NULL DEFAULT 0;
ALTER TABLE requests ADD COLUMN beyond_output INTEGER NOT NULL DEFAULT 0;
CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE pruned_answers (
    answer_id TEXT PRIMARY KEY, session TEXT NOT NULL, account TEXT NOT NULL, billed INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
)sql";

// Answers' ids are random: each made a page of the index dirty, which was more than half of what a row cost.
const std::string& from_2_to_3()
{
    static const std::string text = "DROP INDEX requests_by_answer; "
                                    "CREATE INDEX requests_by_answer ON requests (answer_id) WHERE " +
                                    std::string(stored_objects);
    return text;
}

template <class Enum>
Enum from_text(std::string_view text, Enum last, Enum otherwise) noexcept
{
    for (int i = 0; i <= static_cast<int>(last); ++i) {
        if (to_string(static_cast<Enum>(i)) == text) return static_cast<Enum>(i);
    }
    return otherwise;
}

struct reader {
    const sqlite::statement& s;
    int at = 0;
    template <std::size_t N>
    void operator()(const char*, fixed_text<N>& text)
    {
        text.assign(s.text(at++));
    }
    template <std::integral T>
    void operator()(const char*, T& value)
    {
        value = static_cast<T>(s.integer(at++));
    }
    void operator()(const char*, bool& value) { value = s.integer(at++) != 0; }
    void operator()(const char*, wire& w) { w = from_text(s.text(at++), last_wire, wire::none); }
    void operator()(const char*, usage_source& u)
    {
        u = from_text(s.text(at++), usage_source::provider, usage_source::none);
    }
    void operator()(const char*, outcome& o)
    {
        o = from_text(s.text(at++), outcome::internal_error, outcome::internal_error);
    }
    void operator()(const char*, std::array<std::uint8_t, 16>& id)
    {
        const auto bytes = s.blob(at++);
        std::copy_n(bytes.begin(), std::min(bytes.size(), id.size()), id.begin());
    }
};

}  // namespace

void migrate(sqlite::connection& db, const std::string& path)
{
    const std::int64_t tables = db.integer("SELECT count(*) FROM sqlite_schema");
    const std::int64_t owner = db.integer("PRAGMA application_id");
    const std::int64_t version = db.integer("PRAGMA user_version");
    if (tables > 0 && owner != application_id) {
        throw std::runtime_error(
            path + " is a database of another program (move it away, or choose another state.directory)");
    }
    if (version > newest_version) {
        throw std::runtime_error(path + " was written by a newer version (its schema is " +
                                 std::to_string(version) + ", this program knows " +
                                 std::to_string(newest_version) + "; run the newer one)");
    }
    if (version == newest_version) return;
    sqlite::transaction t(db);
    // Another process may have migrated while this one waited for the lock.
    const std::int64_t found = db.integer("PRAGMA user_version");
    if (found < 1) db.exec(version_1);
    if (found < 2) {
        db.exec(from_1_to_2);
        rollups::create(db);
        rollups::rebuild(db);
    }
    if (found < 3) db.exec(from_2_to_3());
    db.exec("PRAGMA application_id = " + std::to_string(application_id));
    db.exec("PRAGMA user_version = " + std::to_string(newest_version));
    t.commit();
}

const std::string& row_columns()
{
    static const std::string text = [] {
        std::string columns;
        record r;
        each_field([&](const char* name,
                       const auto&) { columns += (columns.empty() ? "" : ", ") + std::string(name); },
                   r);
        return columns;
    }();
    return text;
}

int row_column_count()
{
    int n = 0;
    record r;
    each_field([&](const char*, const auto&) { ++n; }, r);
    return n;
}

namespace {

/// Says all of the table's columns in its own order: then SQLite copies none of the values to bring them into
/// order.
std::string insert(std::string_view verb, std::size_t rows)
{
    std::string marks = "(NULL";
    for (int column = row_column_count(); column > 0; --column) {
        marks += ", ?";
    }
    marks += ')';
    std::string text = std::string(verb) + " INTO requests (id, " + row_columns() + ") VALUES " + marks;
    for (std::size_t row = 1; row < rows; ++row) {
        text += ", " + marks;
    }
    return text;
}

}  // namespace

std::string insert_row()
{
    return insert("INSERT", 1) + " ON CONFLICT (request_id) DO NOTHING";
}

std::string insert_rows(std::size_t count)
{
    return insert("INSERT OR ROLLBACK", count);
}

record read_row(const sqlite::statement& s)
{
    record r;
    each_field(reader{s}, r);
    return r;
}

bool is_unpriced(const record& r) noexcept
{
    return !r.priced && (r.counts.total() > 0 || r.counts.web_searches > 0 || r.beyond.total() > 0);
}

usage_sum sum_of(const record& r) noexcept
{
    usage_sum s;
    s.requests = 1;
    s.counts = r.counts;
    s.beyond_tokens = r.beyond.total();
    s.cost_nano_usd = r.cost_nano_usd;
    s.unpriced_requests = is_unpriced(r) ? 1 : 0;
    s.estimated_requests =
        r.source == usage_source::estimated || r.source == usage_source::provider_partial ? 1 : 0;
    s.unknown_requests = !has_cost(r) && r.format != wire::none && r.status > 0 && r.status < 400 ? 1 : 0;
    s.errors = r.end != outcome::ok ? 1 : 0;
    return s;
}

void add(usage_sum& to, const usage_sum& more) noexcept
{
    std::array<std::int64_t, 32> values{};
    std::size_t at = 0;
    each_sum(more, [&](const char*, std::int64_t value) { values[at++] = value; });
    at = 0;
    each_sum(to, [&](const char*, std::int64_t& value) {
        if (__builtin_add_overflow(value, values[at], &value)) value = INT64_MAX;
        ++at;
    });
}

std::string_view counted_model(const record& r) noexcept
{
    return r.model.empty() ? r.answered_model.view() : r.model.view();
}

}  // namespace keyhole::metering::schema
