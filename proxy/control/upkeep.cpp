// What changes the books afterwards: rows pruned, costs booked anew, the file compacted. The work is done on
// the ledger's thread between batches of rows; a call works for at most some seconds and says where it
// stopped, so whoever wants all of it calls again.
#include "metering/prune.hpp"
#include "metering/record.hpp"
#include "metering/reprice_apply.hpp"
#include "proxy/control/api.hpp"
#include "proxy/control/usage.hpp"

#include <nlohmann/json.hpp>

#include <charconv>
#include <chrono>
#include <stdexcept>

namespace keyhole::proxy::admin {
namespace {

using nlohmann::json;

constexpr std::chrono::milliseconds longest_call{2000};

bool flag(const std::string& name, const std::string& value)
{
    if (value == "1" || value == "true") return true;
    if (value == "0" || value == "false") return false;
    throw std::invalid_argument(name + ": expected 1 or 0");
}

json file_json(const metering::file_state& f)
{
    return {{"bytes", f.bytes}, {"free_bytes", f.free_bytes}, {"gives_back", f.gives_back}};
}

metering::row_place place_of(const metering::usage_query& q)
{
    metering::row_place at;
    if (!q.after) return at;
    at.ended_us = q.after->ended_us;
    const std::string& row = q.after->id;
    const auto [end, ec] = std::from_chars(row.data(), row.data() + row.size(), at.row);
    if (!row.empty() && (ec != std::errc{} || end != row.data() + row.size()))
        throw std::invalid_argument("after: expected what the last answer said");
    return at;
}

}  // namespace

admin_answer prune(control_surface& c, const admin_request& r)
{
    const std::int64_t now_us = metering::now_us();
    std::int64_t before_us = 0;
    bool dry_run = false;
    for (const auto& [name, value] : r.query) {
        if (name == "before")
            before_us = time_of(name, value, now_us);
        else if (name == "dry_run")
            dry_run = flag(name, value);
        else
            throw std::invalid_argument("unknown parameter \"" + name.substr(0, 64) +
                                        "\" (one of: before, dry_run)");
    }
    if (before_us == 0)
        throw std::invalid_argument("before: is missing (rows that ended earlier are pruned)");
    before_us = metering::prune_limit(before_us, now_us);
    metering::prune_report report;
    if (dry_run) {
        report = metering::would_prune(c.books.path(), before_us);
    } else {
        metering::pruner work(before_us, longest_call);
        c.books.run([&](metering::ledger_writer& to) { return work.slice(to); });
        report = work.report();
    }
    return json_answer(200, json{{"before_us", report.before_us},
                                 {"rows", report.rows},
                                 {"pages_freed", report.pages_freed},
                                 {"gives_back", report.gives_back},
                                 {"dry_run", dry_run},
                                 {"done", report.done}});
}

admin_answer compact(control_surface& c, const admin_request& r)
{
    bool dry_run = false;
    for (const auto& [name, value] : r.query) {
        if (name != "dry_run")
            throw std::invalid_argument("unknown parameter \"" + name.substr(0, 64) + "\" (one of: dry_run)");
        dry_run = flag(name, value);
    }
    json out = file_json(metering::state_of(c.books.path()));
    out["started"] = false;
    if (!dry_run) {
        out["started"] = c.books.start("compaction", [](metering::ledger_writer& to) {
            metering::compact(to);
            return false;
        });
    }
    return json_answer(200, out);
}

admin_answer apply_prices(control_surface& c, const admin_request& r)
{
    const metering::usage_query q = query_of(r, false);
    const metering::price_table prices = prices_of(c, r);
    catch_up(c);
    metering::repricer work(q, prices, place_of(q), longest_call);
    c.books.run([&](metering::ledger_writer& to) { return work.slice(to); });
    const json listed = repriced_json(work.groups());
    const metering::row_place at = work.reached();
    return json_answer(200, json{{"price_version", prices.version()},
                                 {"changed", work.changed()},
                                 {"done", work.done()},
                                 {"after", std::to_string(at.ended_us) + "." + std::to_string(at.row)},
                                 {"groups", listed}});
}

}  // namespace keyhole::proxy::admin
