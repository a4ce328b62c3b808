// keyhole usage (also --reprice), keyhole usage requests, keyhole status
#include "metering/budget.hpp"
#include "proxy/cli/admin_client.hpp"
#include "proxy/cli/commands.hpp"
#include "proxy/cli/shown.hpp"
#include "proxy/cli/table.hpp"

#include <CLI/CLI.hpp>

#include <array>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace keyhole::proxy::cli {
namespace {

using nlohmann::json;

constexpr std::size_t rows_a_page = 1000;

struct usage_options : common_options {
    bool as_csv = false;
    bool as_lines = false;
    bool reprice = false;
    bool apply = false;
    bool yes = false;
    std::string prices;  ///< a price file to look at history with
    std::string by = "session";
    std::string since, until, session, sandbox, account, provider, model;
    unsigned limit = 0;
};

std::string query_of(const usage_options& o)
{
    std::string out;
    const auto add = [&](const char* key, const std::string& value) {
        if (!value.empty()) out += (out.empty() ? "?" : "&") + std::string(key) + '=' + encode(value);
    };
    add("since", o.since);
    add("until", o.until);
    add("session", o.session);
    add("sandbox", o.sandbox);
    add("account", o.account);
    add("provider", o.provider);
    add("model", o.model);
    add("limit", o.limit == 0 ? std::string() : std::to_string(o.limit));
    return out;
}

void print_csv(const json& rows, const std::vector<std::string>& members, bool heading = true)
{
    table t(members);
    for (const auto& row : rows) {
        std::vector<std::string> cells;
        cells.reserve(members.size());
        for (const auto& m : members) {
            cells.push_back(text_of(row, m.c_str()));
            // A spreadsheet would take what an agent wrote (its run's label …) for a formula.
            auto& cell = cells.back();
            if (!cell.empty() && std::string_view("=+-@\t\r").find(cell.front()) != std::string_view::npos &&
                row.contains(m) && row.at(m).is_string())
                cell.insert(cell.begin(), '\'');
        }
        t.add(std::move(cells));
    }
    const std::string text = t.csv();
    print(heading ? text : text.substr(text.find('\n') + 1));
}

constexpr std::array sums{"requests",       "total_input",       "cache_read",         "cache_write_5m",
                          "cache_write_1h", "total_output",      "output_reasoning",   "cost_nano_usd",
                          "errors",         "unpriced_requests", "estimated_requests", "unknown_requests"};

/// Marks behind a sum that is not the whole truth.
std::string remarks_of(const json& g)
{
    std::string out;
    const auto add = [&](const char* member, const char* word) {
        const std::int64_t n = number_of(g, member);
        if (n != 0) out += (out.empty() ? "" : ", ") + grouped(n) + ' ' + word;
    };
    add("errors", "errors");
    add("unpriced_requests", "unpriced");
    add("estimated_requests", "estimated");
    add("unknown_requests", "unknown");
    return out;
}

std::vector<std::string> cells_of(const std::string& name, const json& g)
{
    const std::int64_t written = number_of(g, "cache_write_5m") + number_of(g, "cache_write_1h");
    return {name,
            grouped(number_of(g, "requests")),
            grouped(number_of(g, "total_input")),
            grouped(number_of(g, "cache_read")),
            grouped(written),
            grouped(number_of(g, "total_output")),
            grouped(number_of(g, "output_reasoning")),
            metering::format_usd(number_of(g, "cost_nano_usd")),
            remarks_of(g)};
}

void usage(const usage_options& o)
{
    const std::string filters = query_of(o);
    const std::string target =
        "/admin/v1/usage" + filters + (filters.empty() ? "?" : "&") + "by=" + encode(o.by);
    const json groups = admin_client(o.admin).get(target);
    if (o.as_json) return print_json(groups);
    if (o.as_csv)
        return print_csv(groups, {"group",
                                  "requests",
                                  "input",
                                  "cache_read",
                                  "cache_write_5m",
                                  "cache_write_1h",
                                  "output",
                                  "output_reasoning",
                                  "input_audio",
                                  "output_audio",
                                  "input_image",
                                  "output_image",
                                  "web_searches",
                                  "beyond_tokens",
                                  "total_tokens",
                                  "cost_nano_usd",
                                  "cost_usd",
                                  "unpriced_requests",
                                  "estimated_requests",
                                  "unknown_requests",
                                  "errors"});
    if (groups.empty()) return print("nothing was used\n");
    std::string heading = o.by == "none" ? "" : o.by;
    for (char& c : heading) {
        if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    }
    table t({heading, ">REQUESTS", ">INPUT", ">CACHE READ", ">CACHE WRITE", ">OUTPUT", ">REASONING", ">USD",
             "OF THESE"});
    json total = json::object();
    for (const auto& g : groups) {
        for (const char* member : sums) {
            total[member] = number_of(total, member) + number_of(g, member);
        }
        const std::string name = text_of(g, "group");
        t.add(cells_of(name.empty() && o.by != "none" ? "-" : name, g));
    }
    if (groups.size() > 1) t.add_total(cells_of("total", total));
    print(t.text());
}

/// Every column of a row.
const std::vector<std::string> row_columns{"request_id",
                                           "received_us",
                                           "forwarded_us",
                                           "first_byte_us",
                                           "first_token_us",
                                           "ended_us",
                                           "session",
                                           "account",
                                           "sandbox",
                                           "run",
                                           "attempt",
                                           "provider",
                                           "route",
                                           "wire",
                                           "model",
                                           "answered_model",
                                           "status",
                                           "outcome",
                                           "error",
                                           "usage_source",
                                           "stream",
                                           "agent_gone",
                                           "input",
                                           "cache_read",
                                           "cache_write_5m",
                                           "cache_write_1h",
                                           "output",
                                           "output_reasoning",
                                           "input_audio",
                                           "output_audio",
                                           "input_image",
                                           "output_image",
                                           "web_searches",
                                           "total_input",
                                           "total_output",
                                           "total_tokens",
                                           "total_mismatch",
                                           "priced",
                                           "cost_nano_usd",
                                           "cost_usd",
                                           "provider_cost_nano_usd",
                                           "reserved_nano_usd",
                                           "service_tier",
                                           "provider_request_id",
                                           "answer_id",
                                           "price_version",
                                           "bytes_in",
                                           "bytes_out",
                                           "beyond_model",
                                           "beyond_input",
                                           "beyond_cache_read",
                                           "beyond_cache_write_5m",
                                           "beyond_cache_write_1h",
                                           "beyond_output",
                                           "beyond_tokens"};

void print_lines(const json& rows)
{
    std::string text;
    for (const auto& r : rows) {
        text += r.dump() + '\n';
    }
    print(text);
}

/// All rows of a range, oldest first, a page at a time: neither side holds more than a page.
void export_all(const usage_options& o)
{
    const admin_client client(o.admin);
    const std::string filters = query_of(o);
    const std::string target = "/admin/v1/requests" + filters + (filters.empty() ? "?" : "&") +
                               "limit=" + std::to_string(rows_a_page) + "&after=";
    std::string after = "0";
    for (bool first = true;; first = false) {
        const json rows = client.get(target + after);
        if (o.as_lines)
            print_lines(rows);
        else if (first || !rows.empty())
            print_csv(rows, row_columns, first);
        if (rows.size() < rows_a_page) return;
        after = text_of(rows.back(), "ended_us") + '.' + text_of(rows.back(), "request_id");
    }
}

std::string read_file(const std::string& path)
{
    if (path.empty()) return {};
    std::ifstream file(path, std::ios::binary);
    std::string text(std::istreambuf_iterator<char>(file), {});
    if (!file || file.bad())
        throw std::runtime_error(path + ": cannot be read (does it exist, and may this user read it?)");
    return text;
}

constexpr std::array repriced_members{"requests",
                                      "booked_nano_usd",
                                      "repriced_nano_usd",
                                      "difference_nano_usd",
                                      "booked_unpriced_requests",
                                      "repriced_unpriced_requests"};

std::string repriced_table(const json& groups)
{
    const auto cells = [](const std::string& provider, const json& g) {
        return std::vector<std::string>{provider,
                                        text_of(g, "model"),
                                        grouped(number_of(g, "requests")),
                                        metering::format_usd(number_of(g, "booked_nano_usd")),
                                        metering::format_usd(number_of(g, "repriced_nano_usd")),
                                        metering::format_usd(number_of(g, "difference_nano_usd")),
                                        grouped(number_of(g, "repriced_unpriced_requests"))};
    };
    table t({"PROVIDER", "MODEL", ">REQUESTS", ">BOOKED USD", ">REPRICED USD", ">DIFFERENCE", ">UNPRICED"});
    json total = json::object();
    for (const auto& g : groups) {
        for (const char* member : repriced_members) {
            total[member] = number_of(total, member) + number_of(g, member);
        }
        t.add(cells(text_of(g, "provider"), g));
    }
    if (groups.size() > 1) t.add_total(cells("total", total));
    return t.text();
}

/// Books the other prices, part by part; a part that was done stays done if this is broken off.
json apply_all(const usage_options& o, const std::string& prices)
{
    const admin_client proxy(o.admin);
    const std::string filters = query_of(o);
    json all{{"changed", 0}, {"groups", json::array()}};
    std::string after = "0";
    for (bool done = false; !done;) {
        const json part = proxy.post_text(
            "/admin/v1/reprice/apply" + filters + (filters.empty() ? "?" : "&") + "after=" + after, prices);
        for (const auto& g : part.at("groups")) {
            json* known = nullptr;
            for (auto& k : all["groups"]) {
                if (k.at("provider") == g.at("provider") && k.at("model") == g.at("model")) known = &k;
            }
            if (known == nullptr) {
                all["groups"].push_back(g);
                continue;
            }
            for (const char* member : repriced_members) {
                (*known)[member] = number_of(*known, member) + number_of(g, member);
            }
        }
        all["changed"] = number_of(all, "changed") + number_of(part, "changed");
        all["price_version"] = part.at("price_version");
        after = text_of(part, "after");
        done = part.at("done").get<bool>();
    }
    return all;
}

/// What the rows would cost at other prices; with --apply and --yes that becomes what they cost.
void reprice(const usage_options& o)
{
    const std::string prices = read_file(o.prices);
    const bool write = o.apply && o.yes;
    const json told = write ? apply_all(o, prices)
                            : admin_client(o.admin).post_text("/admin/v1/reprice" + query_of(o), prices);
    const json& groups = told.at("groups");
    if (o.as_json) return print_json(told);
    if (o.as_csv)
        return print_csv(groups,
                         {"provider", "model", "requests", "booked_nano_usd", "repriced_nano_usd",
                          "difference_nano_usd", "booked_unpriced_requests", "repriced_unpriced_requests"});
    if (groups.empty()) return print("nothing was used\n");
    const std::string text = repriced_table(groups) + "at prices " + text_of(told, "price_version") + "; ";
    if (write) return print(text + grouped(number_of(told, "changed")) + " rows were changed\n");
    print(text + (o.apply ? "nothing is written yet: repeat with --yes to book these costs\n"
                          : "the ledger is unchanged\n"));
}

void requests(const usage_options& o)
{
    if ((o.as_csv || o.as_lines) && o.limit == 0) return export_all(o);
    const json rows = admin_client(o.admin).get("/admin/v1/requests" + query_of(o));
    if (o.as_json) return print_json(rows);
    if (o.as_lines) return print_lines(rows);
    if (o.as_csv) return print_csv(rows, row_columns);
    if (rows.empty()) return print("no requests\n");
    table t({"RECEIVED (UTC)", "REQUEST", "SESSION", "MODEL", ">STATUS", "OUTCOME", "USAGE", ">INPUT",
             ">OUTPUT", ">USD", ">MS"});
    for (const auto& r : rows) {
        const bool unpriced = !r.value("priced", false) &&
                              (number_of(r, "total_tokens") > 0 || number_of(r, "web_searches") > 0);
        const std::int64_t took_us = number_of(r, "ended_us") - number_of(r, "received_us");
        t.add({shown_time(number_of(r, "received_us")), text_of(r, "request_id"), text_of(r, "session"),
               text_of(r, "model"), text_of(r, "status"), text_of(r, "outcome"), text_of(r, "usage_source"),
               grouped(number_of(r, "total_input")), grouped(number_of(r, "total_output")),
               unpriced ? "unpriced" : text_of(r, "cost_usd"),
               number_of(r, "received_us") == 0 ? "-" : grouped(took_us / 1000)});
    }
    print(t.text());
}

void status(const common_options& o)
{
    const json s = admin_client(o.admin).get("/admin/v1/status");
    if (o.as_json) return print_json(s);
    const json& ledger = s.at("ledger");
    std::string text = "keyhole " + text_of(s, "version") + ": " +
                       (s.value("ready", false) ? "ready" : "not ready: " + text_of(s, "reason")) + '\n';
    text += "sessions     " + grouped(number_of(s, "sessions")) + '\n';
    text += "connections  " + grouped(number_of(s, "agent_connections")) + '\n';
    text += "in flight    " + grouped(number_of(s, "in_flight")) + '\n';
    text += "ledger       " + grouped(number_of(ledger, "rows_written")) + " rows written, " +
            grouped(number_of(ledger, "waiting")) + " waiting";
    if (ledger.value("failing", false)) text += "; failing: " + text_of(ledger, "last_error");
    print(text + '\n');
}

void add_filters(CLI::App& command, usage_options& o)
{
    add_common(command, o);
    command.add_flag("--csv", o.as_csv, "CSV for programs")->excludes("--json");
    command.add_option("--since", o.since, "7d, 24h, 2026-11-21, 2026-11-21T10:00:00Z (UTC)");
    command.add_option("--until", o.until, "As --since");
    command.add_option("--session", o.session, "Only this session");
    command.add_option("--sandbox", o.sandbox, "Only this sandbox");
    command.add_option("--account", o.account, "Only this account");
    command.add_option("--provider", o.provider, "Only this provider");
    command.add_option("--model", o.model, "Only this model");
    command.add_option("--limit,--rows", o.limit, "At most so many lines")->check(CLI::Range(1U, 100'000U));
}

}  // namespace

void add_usage_commands(CLI::App& app, int& exit_code)
{
    auto sums_of = std::make_shared<usage_options>();
    CLI::App* u = app.add_subcommand("usage", "What was used and what it cost");
    add_filters(*u, *sums_of);
    CLI::Option* at_other_prices =
        u->add_flag("--reprice", sums_of->reprice, "What history would cost at the prices in force now");
    u->add_option("--prices", sums_of->prices, "With --reprice: a price file (TOML) laid over those")
        ->needs(at_other_prices);
    CLI::Option* apply =
        u->add_flag("--apply", sums_of->apply, "With --reprice: book those costs, after --yes")
            ->needs(at_other_prices);
    u->add_flag("--yes", sums_of->yes, "With --apply: do it; without this the difference is shown")
        ->needs(apply);
    u->add_option("--by", sums_of->by,
                  "none, session, account, sandbox, run, model, provider, route, day, outcome or source")
        ->capture_default_str();
    const auto add_requests = [&](CLI::App& parent) {
        auto rows_of = std::make_shared<usage_options>();
        CLI::App* c = parent.add_subcommand("requests", "The newest requests, one a line");
        add_filters(*c, *rows_of);
        c->add_flag("--jsonl", rows_of->as_lines, "One JSON object a line; as --csv all rows, oldest first");
        c->callback([rows_of, &exit_code] { report(exit_code, [&] { requests(*rows_of); }); });
    };
    add_requests(app);
    add_requests(*u);
    add_upkeep_commands(*u, exit_code);
    u->callback([u, sums_of, &exit_code] {
        if (!u->get_subcommands().empty()) return;
        report(exit_code, [&] { sums_of->reprice ? reprice(*sums_of) : usage(*sums_of); });
    });
    auto asked = std::make_shared<common_options>();
    CLI::App* s = app.add_subcommand("status", "Is the proxy up and well?");
    add_common(*s, *asked);
    s->callback([asked, &exit_code] { report(exit_code, [&] { status(*asked); }); });
}

}  // namespace keyhole::proxy::cli
