#include "metering/ledger_queries.hpp"

#include "metering/ledger_schema.hpp"
#include "metering/sqlite.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>

namespace keyhole::metering::queries {

namespace {

constexpr int busy_ms = 5000;

/// Rounds towards later without overflowing at the end of time.
std::int64_t ceil_to(std::int64_t value, std::int64_t unit)
{
    const std::int64_t down = value / unit * unit;
    return down == value || value > INT64_MAX - unit ? down : down + unit;
}

/// The five pieces of [since, until): ragged edges are summed from rows, whole hours and whole days from the
/// roll-ups.
struct pieces {
    std::int64_t since, hours_from, days_from, days_until, hours_until, until;
};

pieces split(std::int64_t since, std::int64_t until)
{
    pieces p{};
    p.since = std::max<std::int64_t>(since, 0);
    p.until = std::max(until, p.since);
    p.hours_from = std::min(ceil_to(p.since, schema::hour_us), p.until);
    p.hours_until = std::max(p.until / schema::hour_us * schema::hour_us, p.hours_from);
    p.days_from = std::min(ceil_to(p.hours_from, schema::day_us), p.hours_until);
    p.days_until = std::max(p.hours_until / schema::day_us * schema::day_us, p.days_from);
    return p;
}

struct grouping {
    const char* row_key;     ///< over `requests`
    const char* rollup_key;  ///< over a roll-up; nullptr: the roll-ups do not know it
};

grouping grouping_of(group_by by)
{
    switch (by) {
    case group_by::none:
        return {"''", "''"};
    case group_by::session:
        return {"session", "session"};
    case group_by::account:
        return {"account", "account"};
    case group_by::sandbox:
        return {"sandbox", "sandbox"};
    case group_by::run:
        return {"run", nullptr};
    case group_by::model:
        return {schema::counted_model_sql, "model"};
    case group_by::provider:
        return {"provider", "provider"};
    case group_by::route:
        return {"route", nullptr};
    case group_by::day:
        return {"ended_us / 86400000000", nullptr};  // the roll-ups' own key depends on the table
    case group_by::outcome:
        return {"outcome", nullptr};
    case group_by::source:
        return {"source", nullptr};
    }
    return {"''", "''"};
}

/// " AND session = ?3 …" for the filters that are set; each value is bound once, by number.
class filters {
public:
    explicit filters(const usage_query& q)
        : values_{{{"session", q.session},
                   {"account", q.account},
                   {"sandbox", q.sandbox},
                   {"provider", q.provider},
                   {"model", q.model}}}
    {
    }
    std::string on_rows() const { return text(schema::counted_model_sql); }
    std::string on_rollups() const { return text("model"); }
    void bind(sqlite::statement& s) const
    {
        for (std::size_t i = 0; i < values_.size(); ++i) {
            if (!values_[i].second.empty()) s.bind(first + static_cast<int>(i), values_[i].second);
        }
    }

private:
    static constexpr int first = 10;
    std::string text(std::string_view model) const
    {
        std::string sql;
        for (std::size_t i = 0; i < values_.size(); ++i) {
            const auto& [column, value] = values_[i];
            if (value.empty()) continue;
            sql += " AND " + std::string(column == "model" ? model : column) + " = ?" +
                   std::to_string(first + static_cast<int>(i));
        }
        return sql;
    }
    std::array<std::pair<std::string_view, std::string_view>, 5> values_;
};

std::string sum_names(bool summed)
{
    std::string text;
    usage_sum s;
    schema::each_sum(s, [&](const std::string& name, std::int64_t) {
        text += summed ? ", sum(" + name + ")" : ", " + name;
    });
    return text;
}

std::string usage_sql(const usage_query& q, const filters& where)
{
    const grouping by = grouping_of(q.by);
    const bool by_day = q.by == group_by::day;
    const bool rollups = by.rollup_key != nullptr || by_day;
    const auto from_rows = [&](const char* range) {
        return "SELECT " + std::string(by.row_key) + " AS name, " + schema::row_as_sums() +
               " FROM requests WHERE " + range + where.on_rows();
    };
    const auto from_rollup = [&](const char* table, const char* range, const char* day) {
        return " UNION ALL SELECT " + std::string(by_day ? day : by.rollup_key) + sum_names(false) +
               " FROM " + table + " WHERE " + range + where.on_rollups();
    };
    std::string inner;
    if (rollups) {
        inner =
            from_rows("ended_us >= ?1 AND ended_us < ?2") + " UNION ALL " +
            from_rows("ended_us >= ?5 AND ended_us < ?6") +
            from_rollup("usage_hourly", "bucket >= ?2 / 3600000000 AND bucket < ?3 / 3600000000",
                        "bucket / 24") +
            from_rollup("usage_daily", "bucket >= ?3 / 86400000000 AND bucket < ?4 / 86400000000", "bucket") +
            from_rollup("usage_hourly", "bucket >= ?4 / 3600000000 AND bucket < ?5 / 3600000000",
                        "bucket / 24");
    } else {
        inner = from_rows("ended_us >= ?1 AND ended_us < ?6");
    }
    std::string columns = "name";
    usage_sum s;
    schema::each_sum(s, [&](const std::string& name, std::int64_t) { columns += ", " + name; });
    return "WITH pieces (" + columns + ") AS (" + inner + ") SELECT name" + sum_names(true) +
           " FROM pieces GROUP BY name ORDER BY " +
           (by_day ? std::string("name") : "sum(cost_nano_usd) DESC, sum(requests) DESC, name") + " LIMIT ?7";
}

std::string day_name(std::int64_t day)
{
    const std::chrono::year_month_day date{std::chrono::sys_days{std::chrono::days{day}}};
    std::array<char, 32> text{};
    const int n = std::snprintf(text.data(), text.size(), "%04d-%02u-%02u", static_cast<int>(date.year()),
                                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()));
    return {text.data(), static_cast<std::size_t>(std::max(n, 0))};
}

sqlite::connection open_for_reading(const std::string& path)
{
    return {path, sqlite::mode::read_only, busy_ms};
}

/// The same as ?N parameters everywhere; `limit` 0: none.
void walk(const std::string& path, const usage_query& q, bool newest_first, std::int64_t limit,
          const std::function<bool(const record&)>& each)
{
    const filters where(q);
    sqlite::connection db = open_for_reading(path);
    std::string order = newest_first ? " ORDER BY ended_us DESC, id DESC" : " ORDER BY ended_us, id";
    if (q.after) order = " AND (ended_us, hex(request_id)) > (?4, ?5) ORDER BY ended_us, request_id";
    sqlite::statement s = db.prepare("SELECT " + schema::row_columns() +
                                     " FROM requests WHERE ended_us >= ?1 AND ended_us < ?2" +
                                     where.on_rows() + order + " LIMIT ?3");
    s.bind(1, q.since_us).bind(2, q.until_us).bind(3, limit);
    std::string id;
    if (q.after) {
        for (const char c : q.after->id) {
            if (c != '-') id += c >= 'a' && c <= 'f' ? static_cast<char>(c - 'a' + 'A') : c;
        }
        s.bind(1, std::max(q.since_us, q.after->ended_us)).bind(4, q.after->ended_us).bind(5, id);
    }
    where.bind(s);
    while (s.step()) {
        if (!each(schema::read_row(s))) return;
    }
}

}  // namespace

std::vector<std::pair<std::string, usage_sum>> usage(const std::string& path, const usage_query& q)
{
    const filters where(q);
    const pieces p = split(q.since_us, q.until_us);
    sqlite::connection db = open_for_reading(path);
    sqlite::statement s = db.prepare(usage_sql(q, where));
    const bool rollups = grouping_of(q.by).rollup_key != nullptr || q.by == group_by::day;
    s.bind(1, p.since).bind(6, p.until).bind(7, std::int64_t{q.limit});
    if (rollups) {
        s.bind(2, p.hours_from).bind(3, p.days_from).bind(4, p.days_until).bind(5, p.hours_until);
    }
    where.bind(s);

    std::vector<std::pair<std::string, usage_sum>> groups;
    while (s.step()) {
        auto& [name, sum] = groups.emplace_back();
        name = q.by == group_by::day ? day_name(s.integer(0)) : std::string(s.text(0));
        int column = 0;
        schema::each_sum(sum, [&](const char*, std::int64_t& value) { value = s.integer(++column); });
    }
    return groups;
}

std::vector<record> rows(const std::string& path, const usage_query& q)
{
    std::vector<record> found;
    walk(path, q, true, q.limit, [&](const record& r) {
        found.push_back(r);
        return true;
    });
    return found;
}

void each_row(const std::string& path, const usage_query& q, const std::function<bool(const record&)>& each)
{
    walk(path, q, false, -1, each);
}

bool answer_billed(const std::string& path, std::string_view answer_id)
{
    sqlite::connection db = open_for_reading(path);
    sqlite::statement s = db.prepare(
        "SELECT 1 FROM requests WHERE answer_id = ?1 AND answer_id <> '' AND source <> 'none' LIMIT 1");
    s.bind(1, answer_id);
    return s.step();
}

std::pair<std::string, std::string> made_by(const std::string& path, std::string_view answer_id)
{
    sqlite::connection db = open_for_reading(path);
    sqlite::statement s =
        db.prepare("SELECT session, account FROM requests WHERE answer_id = ?1 AND answer_id <> '' "
                   "ORDER BY ended_us LIMIT 1");
    s.bind(1, answer_id);
    if (!s.step()) return {};
    return {std::string(s.text(0)), std::string(s.text(1))};
}

}  // namespace keyhole::metering::queries
