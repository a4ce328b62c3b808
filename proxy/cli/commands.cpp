#include "proxy/cli/commands.hpp"

#include "proxy/cli/admin_client.hpp"
#include "proxy/cli/table.hpp"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

namespace keyhole::proxy::cli {
namespace {

using nlohmann::json;

/// What the command line said; one object outlives the parsing.
struct options {
    std::string admin = "/run/keyhole-admin/admin.sock";
    bool as_json = false;
    bool as_csv = false;
    bool quiet = false;
    bool all = false;
    std::string id;
    std::string name;
    std::string budget;
    std::string sandbox;
    std::string account;
    std::string ttl;
    std::string gone;
    std::string token;
    bool own_socket = false;
    bool keep_streams = false;
    std::vector<std::string> limits;
    std::vector<std::string> providers;
    std::vector<std::string> models;
    std::vector<std::string> operations;
    std::vector<std::string> labels;
    std::string by = "session";
    std::string since;
    std::string until;
    std::string session;
    unsigned rows = 0;
};

void print_json(const json& j)
{
    std::printf("%s\n", j.dump(2).c_str());
}

std::string text_of(const json& j)
{
    return j.is_string() ? j.get<std::string>() : j.dump();
}

std::string joined(const json& list)
{
    std::string out;
    for (const auto& item : list)
        out += (out.empty() ? "" : ",") + text_of(item);
    return out.empty() ? "all" : out;
}

void create(const options& o)
{
    json body;
    const auto put = [&](const char* key, const std::string& value) {
        if (!value.empty()) body[key] = value;
    };
    put("name", o.name);
    put("sandbox", o.sandbox);
    put("account", o.account);
    put("ttl", o.ttl);
    put("gone_policy", o.gone);
    auto limits = o.limits;
    if (!o.budget.empty()) limits.push_back("usd=" + o.budget);
    if (!limits.empty()) body["limits"] = limits;
    if (!o.providers.empty()) body["providers"] = o.providers;
    if (!o.models.empty()) body["models"] = o.models;
    if (!o.operations.empty()) body["operations"] = o.operations;
    if (o.own_socket) body["own_socket"] = true;
    if (o.keep_streams) body["cut_on_revoke"] = false;
    for (const auto& l : o.labels) {
        const auto equals = l.find('=');
        if (equals == std::string::npos) throw CLI::ValidationError("--label", "expects KEY=VALUE");
        body["labels"][l.substr(0, equals)] = l.substr(equals + 1);
    }
    const auto made =
        admin_client(o.admin).post("/admin/v1/sessions", body.is_null() ? json::object() : body);
    if (o.as_json) return print_json(made);
    if (o.quiet) {
        std::printf("%s\n", text_of(made.contains("token") ? made["token"] : made["socket"]).c_str());
        return;
    }
    std::printf("session  %s\n", text_of(made["id"]).c_str());
    if (made.contains("socket"))
        std::printf(
            "socket   %s\n\nMount its directory at /llm-sock in the sandbox: no token exists there at all.\n",
            text_of(made["socket"]).c_str());
    if (made.contains("token"))
        std::printf("token    %s\n\nThe token is shown this once. Give it to the sandbox's PID 1 as "
                    "SESSION_TOKEN, or use it as the API key:\n"
                    "  export OPENAI_API_KEY=%s ANTHROPIC_AUTH_TOKEN=%s\n",
                    text_of(made["token"]).c_str(), text_of(made["token"]).c_str(),
                    text_of(made["token"]).c_str());
}

void list(const options& o)
{
    std::string target = "/admin/v1/sessions?";
    if (o.all) target += "all=1&";
    if (!o.sandbox.empty()) target += "sandbox=" + encode(o.sandbox);
    const auto sessions = admin_client(o.admin).get(target);
    if (o.as_json) return print_json(sessions);
    table t({"SESSION", "NAME", "SANDBOX", "STATE", "CREATED", "EXPIRES", ">IN FLIGHT", "LIMITS (USED)"});
    for (const auto& s : sessions) {
        std::string limits;
        for (const auto& l : s["limits"])
            limits += (limits.empty() ? "" : " ") + text_of(l["limit"]) + " (" + text_of(l["used"]) + ")";
        t.add({text_of(s["id"]), text_of(s["name"]), text_of(s["sandbox"]), text_of(s["state"]),
               shown_time(s["created_us"]), shown_time(s["expires_us"]), s["in_flight"].dump(),
               limits.empty() ? "none" : limits});
    }
    t.print();
}

void show(const options& o)
{
    const auto s = admin_client(o.admin).get("/admin/v1/sessions/" + encode(o.id));
    if (o.as_json) return print_json(s);
    table t({"FIELD", "VALUE"});
    for (const auto* key : {"id", "name", "state", "sandbox", "account"})
        t.add({key, text_of(s[key])});
    for (const auto* key : {"providers", "models", "operations"})
        t.add({key, joined(s[key])});
    t.add({"created", shown_time(s["created_us"])});
    t.add({"expires", shown_time(s["expires_us"])});
    t.add({"in flight", s["in_flight"].dump()});
    for (const auto& l : s["limits"])
        t.add({"limit " + text_of(l["limit"]), "used " + text_of(l["used"]) + ", held " +
                                                   text_of(l["reserved"]) + ", left " +
                                                   text_of(l["remaining"])});
    t.print();
}

void revoke(const options& o)
{
    const admin_client client(o.admin);
    json out;
    if (!o.sandbox.empty())
        out = client.remove("/admin/v1/sandboxes/" + encode(o.sandbox) + "/sessions");
    else if (!o.token.empty()) {
        auto token = o.token;
        if (token == "-") std::getline(std::cin, token);
        out = client.post("/admin/v1/revoke", {{"token", token}});
    } else if (!o.id.empty())
        out = client.remove("/admin/v1/sessions/" + encode(o.id));
    else
        throw CLI::RequiredError("a session's ID, --token or --sandbox");
    if (o.as_json) return print_json(out);
    if (out.contains("revoked"))
        std::printf("%s sessions revoked\n", out["revoked"].dump().c_str());
    else
        std::printf("%s revoked\n", text_of(out["id"]).c_str());
}

std::string filters(const options& o)
{
    std::string out;
    const auto add = [&](const char* key, const std::string& value) {
        if (!value.empty()) out += std::string("&") + key + '=' + encode(value);
    };
    add("since", o.since);
    add("until", o.until);
    add("session", o.session);
    add("sandbox", o.sandbox);
    add("account", o.account);
    if (!o.providers.empty()) add("provider", o.providers.front());
    if (!o.models.empty()) add("model", o.models.front());
    if (o.rows != 0) add("limit", std::to_string(o.rows));
    return out;
}

void usage(const options& o)
{
    const auto groups = admin_client(o.admin).get("/admin/v1/usage?by=" + encode(o.by) + filters(o));
    if (o.as_json) return print_json(groups);
    if (o.as_csv) {
        const std::vector<std::string> fields{"group",
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
                                              "total_tokens",
                                              "cost_nano_usd",
                                              "cost_usd",
                                              "unpriced_requests",
                                              "estimated_requests",
                                              "unknown_requests",
                                              "errors"};
        table t(fields);
        for (const auto& g : groups) {
            std::vector<std::string> cells;
            for (const auto& f : fields)
                cells.push_back(text_of(g[f]));
            t.add(std::move(cells));
        }
        return t.print_csv();
    }
    std::string heading = o.by;
    for (auto& c : heading)
        if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
    table t({heading, ">REQUESTS", ">INPUT", ">CACHE READ", ">CACHE WRITE", ">OUTPUT", ">REASONING", ">USD",
             ">UNPRICED", ">ESTIMATED", ">ERRORS"});
    for (const auto& g : groups)
        t.add({text_of(g["group"]), grouped(g["requests"]), grouped(g["input"]), grouped(g["cache_read"]),
               grouped(g["cache_write_5m"].get<long long>() + g["cache_write_1h"].get<long long>()),
               grouped(g["output"]), grouped(g["output_reasoning"]), text_of(g["cost_usd"]),
               grouped(g["unpriced_requests"]), grouped(g["estimated_requests"]), grouped(g["errors"])});
    t.print();
}

void requests(const options& o)
{
    const auto rows = admin_client(o.admin).get("/admin/v1/requests?" + filters(o));
    if (o.as_json) return print_json(rows);
    table t({"TIME", "REQUEST", "SESSION", "MODEL", ">STATUS", "OUTCOME", "USAGE", ">INPUT", ">OUTPUT",
             ">USD", ">MS"});
    for (const auto& r : rows)
        t.add({shown_time(r["received_us"]), text_of(r["request_id"]), text_of(r["session"]),
               text_of(r["model"]), r["status"].dump(), text_of(r["outcome"]), text_of(r["usage_source"]),
               grouped(r["total_input"]), grouped(r["total_output"]),
               r["priced"].get<bool>() ? text_of(r["cost_usd"]) : "unpriced",
               grouped((r["ended_us"].get<long long>() - r["received_us"].get<long long>()) / 1000)});
    if (o.as_csv)
        t.print_csv();
    else
        t.print();
}

void status(const options& o)
{
    const auto s = admin_client(o.admin).get("/admin/v1/status");
    if (o.as_json) return print_json(s);
    std::printf("keyhole %s: %s, %s sessions, %s agent connections, %s rows written, %s waiting\n",
                text_of(s["version"]).c_str(),
                s["ready"].get<bool>() ? "ready" : text_of(s["reason"]).c_str(), s["sessions"].dump().c_str(),
                s["agent_connections"].dump().c_str(), s["ledger"]["rows_written"].dump().c_str(),
                s["ledger"]["waiting"].dump().c_str());
}

}  // namespace

void register_commands(CLI::App& app, int& exit_code)
{
    const auto o = std::make_shared<options>();
    if (const char* named = std::getenv("KEYHOLE_ADMIN_SOCKET"); named != nullptr && *named != '\0')
        o->admin = named;
    const auto command = [&](CLI::App* parent, const char* name, const char* about,
                             void (*run)(const options&)) {
        auto* c = parent->add_subcommand(name, about);
        c->add_option("--admin", o->admin, "The proxy's admin socket (else $KEYHOLE_ADMIN_SOCKET)")
            ->capture_default_str();
        c->add_flag("--json", o->as_json, "JSON for programs");
        c->callback([o, run, &exit_code] {
            try {
                run(*o);
            } catch (const CLI::Error&) {
                throw;
            } catch (const std::exception& e) {
                std::fprintf(stderr, "keyhole: %s\n", e.what());
                exit_code = 1;
            }
        });
        return c;
    };
    auto* session = app.add_subcommand("session", "Create, list, show and revoke sessions");
    session->require_subcommand(1);
    auto* c = command(session, "create", "Mint a session; its token is shown once", create);
    c->add_option("--name", o->name, "For people");
    c->add_option("--budget", o->budget, "What it may spend in all, in USD (short for --limit usd=AMOUNT)");
    c->add_option("--limit", o->limits,
                  "usd=2.50, usd/day=1, tokens/hour=100000, requests/minute=60, concurrency=4; repeatable")
        ->take_all();
    c->add_option("--provider", o->providers, "Only this provider; repeatable")->take_all();
    c->add_option("--model", o->models, "Only this model (\"gpt-4o*\" for a family); repeatable")->take_all();
    c->add_option("--operation", o->operations,
                  "Only this operation (chat, responses, embeddings, messages …); repeatable")
        ->take_all();
    c->add_option("--sandbox", o->sandbox, "Id of the sandbox it is for");
    c->add_option("--account", o->account, "Parent account, whose limits hold as well");
    c->add_option("--label", o->labels, "KEY=VALUE, e.g. run=42; repeatable")->take_all();
    c->add_option("--ttl", o->ttl, "Life-time: 90s, 15m, 24h, 7d");
    c->add_option("--on-agent-gone", o->gone, "drain or cancel");
    c->add_flag("--own-socket", o->own_socket, "A socket of its own instead of a token");
    c->add_flag("--quiet", o->quiet, "Print the token (or the own socket's path) and nothing else");
    c->add_flag("--keep-streams", o->keep_streams, "Revoking it lets running answers finish");
    c = command(session, "list", "Live sessions", list);
    c->add_flag("--all", o->all, "Also revoked and expired ones");
    c->add_option("--sandbox", o->sandbox, "Only this sandbox's");
    c = command(session, "show", "One session, its limits and what is left of them", show);
    c->add_option("id", o->id, "ses_…")->required();
    c = command(session, "revoke", "End a session now, running streams included", revoke);
    c->add_option("id", o->id, "ses_…");
    c->add_option("--token", o->token, "By its token; - reads it from standard input");
    c->add_option("--sandbox", o->sandbox, "All sessions of a sandbox");

    auto* account = app.add_subcommand("account", "Limits that several sessions share");
    account->require_subcommand(1);
    c = command(account, "set", "Create or replace an account's limits", [](const options& x) {
        print_json(admin_client(x.admin).put("/admin/v1/accounts/" + encode(x.id), {{"limits", x.limits}}));
    });
    c->add_option("id", o->id, "Its name")->required();
    c->add_option("--limit", o->limits, "As for sessions; repeatable")->take_all();
    command(account, "list", "All accounts",
            [](const options& x) { print_json(admin_client(x.admin).get("/admin/v1/accounts")); });

    const auto add_filters = [&](CLI::App* to) {
        to->add_option("--since", o->since, "7d, 24h, 2026-11-21, 2026-11-21T10:00:00Z");
        to->add_option("--until", o->until, "As --since");
        to->add_option("--session", o->session, "Only this session");
        to->add_option("--sandbox", o->sandbox, "Only this sandbox");
        to->add_option("--account", o->account, "Only this account");
        to->add_option("--provider", o->providers, "Only this provider");
        to->add_option("--model", o->models, "Only this model");
        to->add_option("--rows", o->rows, "At most so many rows");
        to->add_flag("--csv", o->as_csv, "CSV for programs");
    };
    c = command(&app, "usage", "What was used and what it cost", usage);
    c->add_option("--by", o->by,
                  "session, account, sandbox, run, model, provider, route, day, outcome, source or none")
        ->capture_default_str();
    add_filters(c);
    c = command(&app, "requests", "The ledger's newest rows", requests);
    add_filters(c);
    command(&app, "status", "Is the proxy up and well?", status);
}

}  // namespace keyhole::proxy::cli
