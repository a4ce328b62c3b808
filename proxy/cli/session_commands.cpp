// keyhole session create | list | show | revoke, keyhole account set | list
#include "config/secret.hpp"
#include "proxy/cli/admin_client.hpp"
#include "proxy/cli/commands.hpp"
#include "proxy/cli/shown.hpp"
#include "proxy/cli/table.hpp"

#include <CLI/CLI.hpp>

#include <iostream>
#include <memory>
#include <string>
#include <vector>

namespace keyhole::proxy::cli {
namespace {

using nlohmann::json;

struct create_options : common_options {
    std::string name, budget, sandbox, account, ttl, gone;
    std::vector<std::string> limits, providers, models, operations, labels;
    bool own_socket = false;
    bool keep_streams = false;
    bool quiet = false;
};

struct list_options : common_options {
    bool all = false;
    std::string sandbox;
    std::string account;
};

struct one_options : common_options {
    std::string id;
    std::string token;
    std::string sandbox;
    std::vector<std::string> limits;
};

json body_of(const create_options& o)
{
    json body = json::object();
    const auto put = [&](const char* key, const auto& value) {
        if (!value.empty()) body[key] = value;
    };
    std::vector<std::string> limits = o.limits;
    if (!o.budget.empty()) limits.push_back("usd=" + o.budget);
    put("name", o.name);
    put("sandbox", o.sandbox);
    put("account", o.account);
    put("ttl", o.ttl);
    put("gone_policy", o.gone);
    put("limits", limits);
    put("providers", o.providers);
    put("models", o.models);
    put("operations", o.operations);
    if (o.own_socket) body["own_socket"] = true;
    if (o.keep_streams) body["cut_on_revoke"] = false;
    for (const auto& label : o.labels) {
        const std::size_t equals = label.find('=');
        if (equals == std::string::npos || equals == 0)
            throw CLI::ValidationError("--label", "expects KEY=VALUE");
        body["labels"][label.substr(0, equals)] = label.substr(equals + 1);
    }
    return body;
}

void create(const create_options& o)
{
    json made = admin_client(o.admin).post("/admin/v1/sessions", body_of(o));
    if (o.as_json) return print_json(made);
    if (o.quiet) return print(text_of(made, made.contains("token") ? "token" : "socket") + '\n');
    std::string text = "session  " + text_of(made, "id") + '\n';
    if (!made.at("limits").empty()) {
        std::string limits;
        for (const auto& l : made.at("limits")) {
            limits += (limits.empty() ? "" : ", ") + text_of(l, "limit");
        }
        text += "limits   " + limits + '\n';
    }
    if (number_of(made, "expires_us") != 0)
        text += "expires  " + shown_time(number_of(made, "expires_us")) + " UTC\n";
    if (made.contains("socket")) {
        const std::string socket = text_of(made, "socket");
        text += "socket   " + socket +
                "\n\nMount its directory into the sandbox; no token exists in there at all:\n"
                "  docker run --network=none -v " +
                socket.substr(0, socket.rfind('/')) + ":/llm-sock:ro ...\n";
    }
    if (made.contains("token")) {
        const std::string token = text_of(made, "token");
        text += "token    " + token +
                "\n\nThe token is shown this once. Hand it to the sandbox's PID 1, which hides it from the "
                "agent:\n"
                "  export SESSION_TOKEN=" +
                token +
                "\nor use it as the API key of any SDK whose base URL is the proxy's:\n"
                "  export OPENAI_API_KEY=" +
                token + "\n  export ANTHROPIC_API_KEY=" + token + '\n';
    }
    print(text);
    config::wipe(text.data(), text.size());
}

void list(const list_options& o)
{
    std::string target = "/admin/v1/sessions?all=" + std::string(o.all ? "1" : "0");
    if (!o.sandbox.empty()) target += "&sandbox=" + encode(o.sandbox);
    if (!o.account.empty()) target += "&account=" + encode(o.account);
    const json sessions = admin_client(o.admin).get(target);
    if (o.as_json) return print_json(sessions);
    if (sessions.empty()) return print("no sessions; make one: keyhole session create --budget 1.00\n");
    table t({"SESSION", "NAME", "SANDBOX", "STATE", "CREATED", "EXPIRES", ">IN FLIGHT", "LIMITS (USED)"});
    for (const auto& s : sessions) {
        std::string limits;
        for (const auto& l : s.at("limits")) {
            const std::string used = text_of(l, "used");
            limits +=
                (limits.empty() ? "" : "  ") + text_of(l, "limit") + (used.empty() ? "" : " (" + used + ")");
        }
        t.add({text_of(s, "id"), text_of(s, "name"), text_of(s, "sandbox"), text_of(s, "state"),
               shown_time(number_of(s, "created_us")), shown_time(number_of(s, "expires_us")),
               text_of(s, "in_flight"), limits.empty() ? "none" : limits});
    }
    print(t.text());
}

void show(const one_options& o)
{
    const json s = admin_client(o.admin).get("/admin/v1/sessions/" + encode(o.id));
    if (o.as_json) return print_json(s);
    table t({"SESSION", text_of(s, "id")});
    const auto add = [&](const char* name, const std::string& value) {
        if (!value.empty()) t.add({name, value});
    };
    std::string labels;
    for (const auto& [key, value] : s.at("labels").items()) {
        labels += (labels.empty() ? "" : ", ") + key + "=" + value.get<std::string>();
    }
    add("state", text_of(s, "state"));
    add("name", text_of(s, "name"));
    add("sandbox", text_of(s, "sandbox"));
    add("account", text_of(s, "account"));
    add("labels", labels);
    add("providers", joined(s.at("providers"), "all configured"));
    add("models", joined(s.at("models"), "all"));
    add("operations", joined(s.at("operations"), "all"));
    add("created", shown_time(number_of(s, "created_us")) + " UTC");
    add("expires",
        number_of(s, "expires_us") == 0 ? "never" : shown_time(number_of(s, "expires_us")) + " UTC");
    add("token", s.at("token_hint").empty() ? "none" : "..." + text_of(s, "token_hint"));
    add("own socket", s.value("own_socket", false) ? "yes" : "");
    add("in flight", text_of(s, "in_flight"));
    print(t.text());
    if (s.at("limits").empty()) return print("\nno limits of its own\n");
    table limits({"LIMIT", ">USED", ">HELD", ">LEFT", "RESETS (UTC)"});
    for (const auto& l : s.at("limits")) {
        limits.add({text_of(l, "limit"), text_of(l, "used"), text_of(l, "reserved"), text_of(l, "remaining"),
                    shown_time(number_of(l, "resets_us"))});
    }
    print('\n' + limits.text());
}

void revoke(const one_options& o)
{
    const int ways = int{!o.id.empty()} + int{!o.token.empty()} + int{!o.sandbox.empty()};
    if (ways != 1) throw CLI::RequiredError("one of: a session's ID, --token, --sandbox");
    const admin_client client(o.admin);
    json out;
    if (!o.sandbox.empty())
        out = client.remove("/admin/v1/sandboxes/" + encode(o.sandbox) + "/sessions");
    else if (!o.id.empty())
        out = client.remove("/admin/v1/sessions/" + encode(o.id));
    else {
        std::string token = o.token;
        if (token == "-") std::getline(std::cin, token);
        while (token.ends_with('\r') || token.ends_with(' ')) {
            token.pop_back();
        }
        out = client.post("/admin/v1/revoke", json{{"token", token}});
        config::wipe(token.data(), token.size());
    }
    if (o.as_json) return print_json(out);
    if (o.sandbox.empty()) return print(text_of(out, "id") + " revoked\n");
    const std::string count = text_of(out, "revoked");
    print(count + (count == "1" ? " session" : " sessions") + " of " + o.sandbox + " revoked\n");
}

void set_account(const one_options& o)
{
    const json made =
        admin_client(o.admin).put("/admin/v1/accounts/" + encode(o.id), json{{"limits", o.limits}});
    if (o.as_json) return print_json(made);
    std::string limits;
    for (const auto& l : made.at("limits")) {
        limits += (limits.empty() ? "" : ", ") + text_of(l, "limit");
    }
    print("account  " + text_of(made, "id") + "\nlimits   " + (limits.empty() ? "none" : limits) + '\n');
}

void list_accounts(const common_options& o)
{
    const json accounts = admin_client(o.admin).get("/admin/v1/accounts");
    if (o.as_json) return print_json(accounts);
    if (accounts.empty())
        return print("no accounts; make one: keyhole account set NAME --limit usd/month=50\n");
    table t({"ACCOUNT", "LIMIT", ">USED", ">HELD", ">LEFT", "RESETS (UTC)", ">IN FLIGHT"});
    for (const auto& a : accounts) {
        const std::string id = text_of(a, "id");
        const std::string in_flight = text_of(a, "in_flight");
        if (a.at("limits").empty()) t.add({id, "none", "", "", "", "", in_flight});
        for (const auto& l : a.at("limits")) {
            t.add({id, text_of(l, "limit"), text_of(l, "used"), text_of(l, "reserved"),
                   text_of(l, "remaining"), shown_time(number_of(l, "resets_us")), in_flight});
        }
    }
    print(t.text());
}

/// A subcommand with options of its own kind, which live as long as the application.
template <class Options>
std::pair<CLI::App*, std::shared_ptr<Options>> command(CLI::App& parent, const char* name, const char* about,
                                                       int& exit_code, void (*run)(const Options&))
{
    auto o = std::make_shared<Options>();
    CLI::App* c = parent.add_subcommand(name, about);
    add_common(*c, *o);
    c->callback([o, run, &exit_code] { report(exit_code, [&] { run(*o); }); });
    return {c, o};
}

constexpr const char* limit_help = "usd=2.50, usd/day=1, tokens/hour=100000, requests/minute=60, "
                                   "concurrency=4 (minute, hour, day, month, or none: in "
                                   "all); repeatable";

void add_create(CLI::App& session, int& exit_code)
{
    auto [c, o] = command<create_options>(session, "create", "Mint a session; its token is shown once",
                                          exit_code, create);
    c->add_option("--name", o->name, "For people");
    c->add_option("--budget", o->budget, "What it may spend in all, in USD (short for --limit usd=AMOUNT)");
    c->add_option("--limit", o->limits, limit_help)->take_all()->allow_extra_args(false);
    c->add_option("--provider", o->providers, "Only this provider; repeatable")
        ->take_all()
        ->allow_extra_args(false);
    c->add_option("--model", o->models, "Only this model, or \"gpt-4o*\" for all that begin so; repeatable")
        ->take_all()
        ->allow_extra_args(false);
    c->add_option("--operation", o->operations,
                  "Only this operation (chat, responses, embeddings ...); repeatable")
        ->take_all()
        ->allow_extra_args(false);
    c->add_option("--sandbox", o->sandbox, "Id of the sandbox it is for");
    c->add_option("--account", o->account, "Parent account, whose limits hold as well");
    c->add_option("--label", o->labels, "KEY=VALUE, e.g. run=42; repeatable")
        ->take_all()
        ->allow_extra_args(false);
    c->add_option("--ttl", o->ttl, "Life-time: 3600, 90s, 15m, 24h, 7d");
    c->add_option("--on-agent-gone", o->gone, "What becomes of an answer whose agent hung up")
        ->check(CLI::IsMember({"drain", "cancel"}));
    c->add_flag("--own-socket", o->own_socket, "A socket of its own instead of a token");
    c->add_flag("--quiet", o->quiet, "Print the token (or its own socket's path) and nothing else");
    c->add_flag("--keep-streams", o->keep_streams, "When it is revoked, running answers may finish");
}

}  // namespace

void add_session_commands(CLI::App& app, int& exit_code)
{
    CLI::App* session = app.add_subcommand("session", "Create, list, show and revoke sessions");
    session->require_subcommand(1);
    add_create(*session, exit_code);
    {
        auto [c, o] = command<list_options>(*session, "list", "Live sessions", exit_code, list);
        c->add_flag("--all", o->all, "Also revoked and expired ones");
        c->add_option("--sandbox", o->sandbox, "Only this sandbox's");
        c->add_option("--account", o->account, "Only this account's");
    }
    {
        auto [c, o] = command<one_options>(
            *session, "show", "One session, its limits and what is left of them", exit_code, show);
        c->add_option("id", o->id, "ses_...")->required();
    }
    auto [c, o] = command<one_options>(*session, "revoke", "End a session now, its running answers included",
                                       exit_code, revoke);
    c->add_option("id", o->id, "ses_...");
    c->add_option("--token", o->token, "By its token; - reads it from standard input");
    c->add_option("--sandbox", o->sandbox, "All sessions of a sandbox");
}

void add_account_commands(CLI::App& app, int& exit_code)
{
    CLI::App* account = app.add_subcommand("account", "Limits that several sessions share");
    account->require_subcommand(1);
    auto [c, o] = command<one_options>(*account, "set", "Make an account, or replace its limits", exit_code,
                                       set_account);
    c->add_option("id", o->id, "Its name")->required();
    c->add_option("--limit", o->limits, limit_help)->take_all()->allow_extra_args(false);
    command<common_options>(*account, "list", "All accounts, their limits and what is left of them",
                            exit_code, list_accounts);
}

}  // namespace keyhole::proxy::cli
