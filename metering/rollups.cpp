#include "metering/rollups.hpp"

#include "metering/ledger_schema.hpp"

#include <vector>

namespace keyhole::metering::rollups {

namespace {

constexpr std::array<const char*, dimension_count> columns{
    "", "session", "account", "sandbox", "run", "provider", "model", "route", "outcome", "source"};

/// Rows that a rebuild holds in memory at a time.
constexpr std::size_t rows_at_once = 20'000;

std::string cube_key()
{
    std::string key = "bucket";
    for (std::size_t d = 1; d < dimension_count; ++d) {
        key += ", " + std::string(columns[d]);
    }
    return key;
}

std::string declared_sums()
{
    std::string text;
    usage_sum s;
    schema::each_sum(s, [&](const std::string& name, std::int64_t) { text += name + " INTEGER NOT NULL, "; });
    return text;
}

std::string upsert(const std::string& table, const std::string& key, std::size_t key_columns)
{
    std::string names = key;
    std::string marks = "?";
    for (std::size_t i = 1; i < key_columns; ++i) {
        marks += ", ?";
    }
    std::string updates;
    usage_sum s;
    schema::each_sum(s, [&](const std::string& name, std::int64_t) {
        names += ", " + name;
        marks += ", ?";
        // A sum past 64 bits would become a REAL, which the strict table refuses for ever; it stays at the
        // bound instead.
        updates += (updates.empty() ? "" : ", ") + name + " = min(" + name + " + excluded." + name +
                   ", 9200000000000000000)";
    });
    return "INSERT INTO " + table + " (" + names + ") VALUES (" + marks + ") ON CONFLICT (" + key +
           ") DO UPDATE SET " + updates;
}

void bind_sums(sqlite::statement& s, int parameter, const usage_sum& sum)
{
    schema::each_sum(sum, [&](const char*, std::int64_t value) { s.bind(++parameter, value); });
}

usage_sum negated(usage_sum s)
{
    schema::each_sum(
        s, [](const char*, std::int64_t& value) { value = value == INT64_MIN ? INT64_MAX : -value; });
    return s;
}

}  // namespace

const char* column_of(dimension d) noexcept
{
    return columns[static_cast<std::size_t>(d)];
}

void create(sqlite::connection& db)
{
    std::string texts;
    for (std::size_t d = 1; d < dimension_count; ++d) {
        texts += std::string(columns[d]) + " TEXT NOT NULL, ";
    }
    for (const std::string table : {"usage_hourly", "usage_daily"}) {
        db.exec("CREATE TABLE " + table + " (bucket INTEGER NOT NULL, " + texts + declared_sums() +
                "PRIMARY KEY (" + cube_key() + ")) STRICT, WITHOUT ROWID");
        db.exec("CREATE INDEX " + table + "_by_session ON " + table + " (session, bucket)");
        db.exec("CREATE INDEX " + table + "_by_account ON " + table +
                " (account, bucket) WHERE account <> ''");
        db.exec("CREATE INDEX " + table + "_by_sandbox ON " + table +
                " (sandbox, bucket) WHERE sandbox <> ''");
    }
    db.exec(
        "CREATE TABLE usage_margins (dimension INTEGER NOT NULL, day INTEGER NOT NULL, name TEXT NOT NULL, " +
        declared_sums() + "PRIMARY KEY (dimension, day, name)) STRICT, WITHOUT ROWID");
    db.exec("CREATE INDEX usage_margins_by_name ON usage_margins (dimension, name, day)");
    // The report over all time is the head of this list, however many sessions there were.
    db.exec(
        "CREATE INDEX usage_margins_by_cost ON usage_margins (dimension, cost_nano_usd DESC, requests DESC, "
        "name) WHERE day = -1");
}

pending::names pending::names_of(const record& r) noexcept
{
    return {r.session.view(), r.account.view(),  r.sandbox.view(),
            r.run.view(),     r.provider.view(), schema::counted_model(r),
            r.route.view(),   to_string(r.end),  to_string(r.source)};
}

void pending::add(const record& r)
{
    schema::add(hours_[{r.ended_us / schema::hour_us, names_of(r)}], schema::sum_of(r));
}

void pending::remove(const record& was)
{
    schema::add(hours_[{was.ended_us / schema::hour_us, names_of(was)}], negated(schema::sum_of(was)));
}

void pending::change(const record& was, const record& is)
{
    usage_sum& s = hours_[{was.ended_us / schema::hour_us, names_of(was)}];
    schema::add(s, negated(schema::sum_of(was)));
    schema::add(s, schema::sum_of(is));
}

writer::writer(sqlite::connection& db)
    : hour_(db.prepare(upsert("usage_hourly", cube_key(), dimension_count)))
    , day_(db.prepare(upsert("usage_daily", cube_key(), dimension_count)))
    , margin_(db.prepare(upsert("usage_margins", "dimension, day, name", 3)))
{
}

void writer::store(const pending& p)
{
    std::map<std::pair<std::int64_t, pending::names>, usage_sum> days;
    for (const auto& [at, sum] : p.hours_) {
        schema::add(days[{at.first / 24, at.second}], sum);
    }
    std::map<std::tuple<std::size_t, std::int64_t, std::string_view>, usage_sum> margins;
    for (const auto& [at, sum] : days) {
        for (std::size_t d = 0; d < dimension_count; ++d) {
            const std::string_view name = d == 0 ? std::string_view{} : at.second[d - 1];
            schema::add(margins[{d, at.first, name}], sum);
            schema::add(margins[{d, all_days, name}], sum);
        }
    }
    const auto store_cube = [](sqlite::statement& s, const auto& sums) {
        for (const auto& [at, sum] : sums) {
            s.bind(1, at.first);
            int parameter = 1;
            for (const std::string_view name : at.second) {
                s.bind(++parameter, name);
            }
            bind_sums(s, parameter, sum);
            s.run();
        }
    };
    store_cube(hour_, p.hours_);
    store_cube(day_, days);
    for (const auto& [at, sum] : margins) {
        const auto& [d, day, name] = at;
        margin_.bind(1, static_cast<std::int64_t>(d)).bind(2, day).bind(3, name);
        bind_sums(margin_, 3, sum);
        margin_.run();
    }
}

void rebuild(sqlite::connection& db)
{
    writer to(db);
    pending sums;
    std::vector<record> rows;
    rows.reserve(rows_at_once);
    const auto flush = [&] {
        to.store(sums);
        sums.clear();
        rows.clear();
    };
    sqlite::statement all = db.prepare("SELECT " + schema::row_columns() + " FROM requests ORDER BY id");
    while (all.step()) {
        rows.push_back(schema::read_row(all));
        sums.add(rows.back());
        if (rows.size() == rows_at_once) flush();
    }
    flush();
}

}  // namespace keyhole::metering::rollups
