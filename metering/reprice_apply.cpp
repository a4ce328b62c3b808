#include "metering/reprice_apply.hpp"

#include "metering/ledger_schema.hpp"

#include <algorithm>

namespace keyhole::metering {

namespace {

constexpr std::chrono::milliseconds longest_slice{3};
/// Between two looks at the clock.
constexpr std::int64_t rows_at_once = 32;

bool matches(const usage_query& q, const record& r)
{
    const auto is = [](const std::string& wanted, std::string_view value) {
        return wanted.empty() || wanted == value;
    };
    return is(q.session, r.session.view()) && is(q.account, r.account.view()) &&
           is(q.sandbox, r.sandbox.view()) && is(q.provider, r.provider.view()) &&
           is(q.model, schema::counted_model(r));
}

bool same_booking(const record& a, const record& b)
{
    return a.cost_nano_usd == b.cost_nano_usd && a.priced == b.priced &&
           a.price_version.view() == b.price_version.view();
}

struct numbered_row {
    std::int64_t id = 0;
    record was;
    record is;
};

}  // namespace

repricer::repricer(usage_query q, price_table prices, row_place from, std::chrono::milliseconds longest)
    : q_(std::move(q)), prices_(std::move(prices)), at_(from), end_(clock::now() + longest)
{
    if (at_.ended_us < q_.since_us) at_ = {q_.since_us, 0};
}

bool repricer::slice(ledger_writer& to)
{
    const auto until = clock::now() + longest_slice;
    sqlite::transaction t(to.db());
    sqlite::statement next =
        to.db().prepare("SELECT " + schema::row_columns() +
                        ", id FROM requests WHERE (ended_us, id) > (?1, ?2) AND ended_us < ?3"
                        " ORDER BY ended_us, id LIMIT ?4");
    sqlite::statement book = to.db().prepare(
        "UPDATE requests SET cost_nano_usd = ?1, priced = ?2, price_version = ?3 WHERE id = ?4");
    const int id_column = schema::row_column_count();

    row_place at = at_;
    std::int64_t changed = 0;
    repriced_groups groups = groups_;
    std::vector<numbered_row> rows;
    bool more = true;
    do {
        rows.clear();
        next.bind(1, at.ended_us).bind(2, at.row).bind(3, q_.until_us).bind(4, rows_at_once);
        while (next.step()) {
            record r = schema::read_row(next);
            rows.push_back({next.integer(id_column), r, r});
        }
        next.reset();
        more = rows.size() == static_cast<std::size_t>(rows_at_once);
        rollups::pending sums;
        for (numbered_row& row : rows) {
            at = {row.was.ended_us, row.id};
            if (!matches(q_, row.was)) continue;
            book_at(row.is, prices_);
            groups.add(row.was, row.is);
            if (same_booking(row.was, row.is)) continue;
            ++changed;
            book.bind(1, row.is.cost_nano_usd).bind(2, std::int64_t{row.is.priced});
            book.bind(3, row.is.price_version.view()).bind(4, row.id).run();
            sums.change(row.was, row.is);
        }
        to.store(sums);
    } while (more && clock::now() < until);
    t.commit();

    at_ = at;
    changed_ += changed;
    groups_ = std::move(groups);
    done_ = !more;
    return more && clock::now() < end_;
}

std::vector<repriced> repricer::groups() const
{
    return groups_.sorted();
}

}  // namespace keyhole::metering
