#include "metering/ledger_queries.hpp"

#include "metering/ledger_schema.hpp"
#include "metering/rollups.hpp"
#include "metering/sqlite.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <functional>
#include <optional>
#include <tuple>
#include <unordered_map>

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

/// Before `kept_from` (a day's begin) rows and hours are gone: a range's edges there are whole days.
pieces split(std::int64_t since, std::int64_t until, std::int64_t kept_from)
{
    pieces p{};
    p.since = std::max<std::int64_t>(since, 0);
    p.until = std::max(until, p.since);
    if (p.since == p.until) return {p.since, p.since, p.since, p.since, p.since, p.since};
    if (p.since < kept_from) p.since = p.since / schema::day_us * schema::day_us;
    if (p.until < kept_from) p.until = ceil_to(p.until, schema::day_us);
    p.hours_from = std::min(ceil_to(p.since, schema::hour_us), p.until);
    p.hours_until = std::max(p.until / schema::hour_us * schema::hour_us, p.hours_from);
    p.days_from = std::min(ceil_to(p.hours_from, schema::day_us), p.hours_until);
    p.days_until = std::max(p.hours_until / schema::day_us * schema::day_us, p.days_from);
    return p;
}

using rollups::dimension;

dimension dimension_of(group_by by)
{
    switch (by) {
    case group_by::session:
        return dimension::session;
    case group_by::account:
        return dimension::account;
    case group_by::sandbox:
        return dimension::sandbox;
    case group_by::run:
        return dimension::run;
    case group_by::model:
        return dimension::model;
    case group_by::provider:
        return dimension::provider;
    case group_by::route:
        return dimension::route;
    case group_by::outcome:
        return dimension::outcome;
    case group_by::source:
        return dimension::source;
    case group_by::none:
    case group_by::day:
        break;
    }
    return dimension::none;
}

/// " AND session = ?10 …" for the filters that are set; each value is bound once, by number.
class filters {
public:
    explicit filters(const usage_query& q)
        : values_{{{dimension::session, q.session},
                   {dimension::account, q.account},
                   {dimension::sandbox, q.sandbox},
                   {dimension::provider, q.provider},
                   {dimension::model, q.model}}}
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
    unsigned count() const
    {
        return static_cast<unsigned>(
            std::ranges::count_if(values_, [](const auto& v) { return !v.second.empty(); }));
    }
    /// The only filter there is.
    std::pair<dimension, std::string_view> lone() const
    {
        return *std::ranges::find_if(values_, [](const auto& v) { return !v.second.empty(); });
    }

private:
    static constexpr int first = 10;
    std::string text(std::string_view model) const
    {
        std::string sql;
        for (std::size_t i = 0; i < values_.size(); ++i) {
            const auto& [d, value] = values_[i];
            if (value.empty()) continue;
            const std::string column(d == dimension::model ? model : rollups::column_of(d));
            sql += " AND " + column + " = ?" + std::to_string(first + static_cast<int>(i));
            // Said again because a parameter does not prove it: the indexes leave the empty ones out.
            if (d == dimension::account || d == dimension::sandbox) sql += " AND " + column + " <> ''";
        }
        return sql;
    }
    std::array<std::pair<dimension, std::string_view>, 5> values_;
};

const std::string& sum_columns()
{
    static const std::string text = [] {
        std::string columns;
        usage_sum s;
        schema::each_sum(s, [&](const std::string& name, std::int64_t) { columns += ", " + name; });
        return columns;
    }();
    return text;
}

/// Which margin answers for whole days, and which of its lines; nullopt: the question has two dimensions or
/// more, and the cubes answer it.
struct margin {
    dimension of = dimension::none;
    std::optional<std::string_view> name = std::nullopt;  ///< one line a day
};

std::optional<margin> margin_for(const usage_query& q, const filters& where)
{
    if (where.count() == 0) return margin{dimension_of(q.by)};
    if (where.count() > 1) return std::nullopt;
    const auto [d, value] = where.lone();
    const bool same = q.by == group_by::none || q.by == group_by::day || dimension_of(q.by) == d;
    return same ? std::optional(margin{d, value}) : std::nullopt;
}

/// Adds up lines of (name, sums) under their names.
class tally {
public:
    explicit tally(const usage_query& q) : by_(q.by) {}

    void line(const sqlite::statement& s)
    {
        usage_sum sum;
        int column = 0;
        schema::each_sum(sum, [&](const char*, std::int64_t& value) { value = s.integer(++column); });
        if (sum.requests != 0) add(s.text(0), sum);  // a line whose rows have all moved to another is none
    }
    void row(const record& r)
    {
        switch (by_) {
        case group_by::none:
            return add({}, schema::sum_of(r));
        case group_by::session:
            return add(r.session.view(), schema::sum_of(r));
        case group_by::account:
            return add(r.account.view(), schema::sum_of(r));
        case group_by::sandbox:
            return add(r.sandbox.view(), schema::sum_of(r));
        case group_by::run:
            return add(r.run.view(), schema::sum_of(r));
        case group_by::model:
            return add(schema::counted_model(r), schema::sum_of(r));
        case group_by::provider:
            return add(r.provider.view(), schema::sum_of(r));
        case group_by::route:
            return add(r.route.view(), schema::sum_of(r));
        case group_by::day:
            return add(std::to_string(r.ended_us / schema::day_us), schema::sum_of(r));
        case group_by::outcome:
            return add(to_string(r.end), schema::sum_of(r));
        case group_by::source:
            return add(to_string(r.source), schema::sum_of(r));
        }
    }

    /// Largest cost first, days in order.
    std::vector<std::pair<std::string, usage_sum>> sorted(std::size_t limit) &&
    {
        std::vector<std::pair<std::string, usage_sum>> all;
        all.reserve(sums_.size());
        for (auto& [name, sum] : sums_) {
            all.emplace_back(name, sum);
        }
        const std::size_t shown = std::min(limit, all.size());
        const auto middle = all.begin() + static_cast<std::ptrdiff_t>(shown);
        std::ranges::partial_sort(all, middle, [&](const auto& a, const auto& b) {
            if (by_ == group_by::day) return std::stoll(a.first) < std::stoll(b.first);
            const auto key = [](const auto& g) {
                return std::tuple(-g.second.cost_nano_usd, -g.second.requests, std::string_view(g.first));
            };
            return key(a) < key(b);
        });
        all.resize(shown);
        return all;
    }

private:
    struct text_hash {
        using is_transparent = void;
        std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
    };
    void add(std::string_view name, const usage_sum& sum)
    {
        auto at = sums_.find(name);
        if (at == sums_.end()) at = sums_.emplace(std::string(name), usage_sum{}).first;
        schema::add(at->second, sum);
    }
    group_by by_;
    std::unordered_map<std::string, usage_sum, text_hash, std::equal_to<>> sums_;
};

/// One question over one snapshot of the file.
class report {
public:
    report(sqlite::connection& db, const usage_query& q) : db_(db), q_(q), where_(q), sums_(q) {}

    std::vector<std::pair<std::string, usage_sum>> answer() &&
    {
        const std::optional<margin> m = margin_for(q_, where_);
        if (m && q_.by != group_by::day && q_.since_us <= 0 && q_.until_us == INT64_MAX) {
            over_all_time(*m);
            return std::move(sums_).sorted(q_.limit);
        }
        const pieces p = split(q_.since_us, q_.until_us, kept_from());
        rows(p.since, p.hours_from);
        hours(p.hours_from, p.days_from);
        if (m)
            margins(*m, p.days_from, p.days_until);
        else
            cube("usage_daily", q_.by == group_by::day ? "bucket" : nullptr, p.days_from / schema::day_us,
                 p.days_until / schema::day_us);
        hours(p.days_until, p.hours_until);
        rows(p.hours_until, p.until);
        return std::move(sums_).sorted(q_.limit);
    }

private:
    std::int64_t kept_from()
    {
        return db_.integer("SELECT value FROM facts WHERE name = 'pruned_before_us'");
    }
    void add_lines(sqlite::statement& s)
    {
        while (s.step()) {
            sums_.line(s);
        }
    }
    void rows(std::int64_t since, std::int64_t until)
    {
        if (since >= until) return;
        sqlite::statement s =
            db_.prepare("SELECT " + schema::row_columns() +
                        " FROM requests WHERE ended_us >= ?1 AND ended_us < ?2" + where_.on_rows());
        s.bind(1, since).bind(2, until);
        where_.bind(s);
        while (s.step()) {
            sums_.row(schema::read_row(s));
        }
    }
    void hours(std::int64_t since, std::int64_t until)
    {
        cube("usage_hourly", q_.by == group_by::day ? "bucket / 24" : nullptr, since / schema::hour_us,
             until / schema::hour_us);
    }
    /// `day`: what names the group where days are asked for.
    void cube(const std::string& table, const char* day, std::int64_t from, std::int64_t to)
    {
        if (from >= to) return;
        const dimension by = dimension_of(q_.by);
        const std::string name = day != nullptr ? day : by == dimension::none ? "''" : rollups::column_of(by);
        sqlite::statement s = db_.prepare("SELECT " + name + sum_columns() + " FROM " + table +
                                          " WHERE bucket >= ?1 AND bucket < ?2" + where_.on_rollups());
        s.bind(1, from).bind(2, to);
        where_.bind(s);
        add_lines(s);
    }
    void margins(const margin& m, std::int64_t since, std::int64_t until)
    {
        if (since >= until) return;
        const std::string name = q_.by == group_by::day ? "day" : q_.by == group_by::none ? "''" : "name";
        sqlite::statement s =
            db_.prepare("SELECT " + name + sum_columns() +
                        " FROM usage_margins WHERE dimension = ?1 AND day >= ?2 AND day < ?3" +
                        (m.name ? " AND name = ?4" : ""));
        s.bind(1, static_cast<std::int64_t>(m.of)).bind(2, since / schema::day_us);
        s.bind(3, until / schema::day_us);
        if (m.name) s.bind(4, *m.name);
        add_lines(s);
    }
    void over_all_time(const margin& m)
    {
        const std::string name = q_.by == group_by::none ? "''" : "name";
        sqlite::statement s = db_.prepare(
            "SELECT " + name + sum_columns() + " FROM usage_margins WHERE dimension = ?1 AND day = -1" +
            (m.name ? " AND name = ?2" : " ORDER BY cost_nano_usd DESC, requests DESC, name LIMIT ?2"));
        s.bind(1, static_cast<std::int64_t>(m.of));
        if (m.name)
            s.bind(2, *m.name);
        else
            s.bind(2, std::int64_t{q_.limit});
        add_lines(s);
    }

    sqlite::connection& db_;
    const usage_query& q_;
    filters where_;
    tally sums_;
};

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
    sqlite::connection db = open_for_reading(path);
    db.exec("BEGIN");  // one snapshot for all that is read
    auto groups = report(db, q).answer();
    if (q.by == group_by::day) {
        for (auto& [name, sum] : groups) {
            name = day_name(std::stoll(name));
        }
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
    sqlite::statement s = db.prepare("SELECT 1 FROM requests WHERE answer_id = ?1 AND source <> 'none' AND " +
                                     std::string(schema::stored_objects) + " LIMIT 1");
    s.bind(1, answer_id);
    if (s.step()) return true;
    sqlite::statement pruned =
        db.prepare("SELECT 1 FROM pruned_answers WHERE answer_id = ?1 AND answer_id <> '' AND billed <> 0");
    pruned.bind(1, answer_id);
    return pruned.step();
}

ledger::object_usage usage_of(const std::string& path, std::string_view answer_id, std::string_view provider,
                              std::vector<record> waiting)
{
    sqlite::connection db = open_for_reading(path);
    sqlite::statement pruned =
        db.prepare("SELECT 1 FROM pruned_answers WHERE answer_id = ?1 AND answer_id <> '' AND billed <> 0");
    pruned.bind(1, answer_id);
    ledger::object_usage out;
    out.final = pruned.step();
    sqlite::statement s = db.prepare("SELECT " + schema::row_columns() +
                                     " FROM requests WHERE answer_id = ?1 AND provider = ?2 AND source <> "
                                     "'none' AND " +
                                     schema::stored_objects);
    s.bind(1, answer_id).bind(2, provider);
    while (s.step()) {
        record r = schema::read_row(s);
        const bool known =
            std::ranges::any_of(waiting, [&](const record& w) { return w.request_id == r.request_id; });
        if (!known) waiting.push_back(r);
    }
    for (const record& r : waiting) {
        if (r.source == usage_source::estimated)
            out.estimates.push_back({std::string(r.session.view()), std::string(r.account.view()),
                                     r.cost_nano_usd, r.counts.total() + r.beyond.total(), r.ended_us});
        else if (r.source != usage_source::none)
            out.final = true;
    }
    return out;
}

ledger::maker made_by(const std::string& path, std::string_view answer_id)
{
    sqlite::connection db = open_for_reading(path);
    ledger::maker out;
    // What was pruned came first.
    for (const std::string& sql :
         {std::string("SELECT session, account FROM pruned_answers WHERE answer_id = ?1"),
          "SELECT session, account FROM requests WHERE answer_id = ?1 AND " +
              std::string(schema::stored_objects) + " ORDER BY ended_us LIMIT 1"})
    {
        sqlite::statement s = db.prepare(sql);
        s.bind(1, answer_id);
        if (!s.step()) continue;
        out.session = s.text(0);
        out.account = s.text(1);
        break;
    }
    if (out.session.empty()) return out;
    sqlite::statement s = db.prepare(
        "SELECT max(input + cache_read + cache_write_5m + cache_write_1h + input_audio + input_image + "
        "output + output_reasoning + output_audio + output_image) FROM requests WHERE answer_id = ?1 AND " +
        std::string(schema::stored_objects));
    s.bind(1, answer_id);
    if (s.step()) out.tokens = s.integer(0);
    return out;
}

}  // namespace keyhole::metering::queries
