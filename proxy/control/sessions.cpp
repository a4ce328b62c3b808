// Sessions and accounts of the admin API.
#include "metering/record.hpp"
#include "proxy/control/api.hpp"
#include "proxy/control/fields.hpp"

#include <algorithm>
#include <set>
#include <stdexcept>

namespace keyhole::proxy::admin {

namespace {

constexpr double seconds_to_flush = 5;

using nlohmann::json;

/// Expired sessions stay in the listing this long.
constexpr std::int64_t expired_shown_us = 24 * 3600 * std::int64_t{1'000'000};

json limit_states(const metering::budget& b, std::int64_t now_us)
{
    json out = json::array();
    for (const auto& state : b.state(now_us)) {
        const bool money = state.which.unit == metering::limit_unit::usd;
        const auto shown = [&](std::int64_t v) { return money ? json(metering::format_usd(v)) : json(v); };
        const std::int64_t held =
            state.used > INT64_MAX - state.reserved ? INT64_MAX : state.used + state.reserved;
        json row{{"limit", metering::to_string(state.which)},
                 {"used", shown(state.used)},
                 {"reserved", shown(state.reserved)},
                 {"remaining", shown(held >= state.which.value ? 0 : state.which.value - held)}};
        if (state.resets_us != 0) row["resets_us"] = state.resets_us;
        out.push_back(std::move(row));
    }
    return out;
}

json facts_of(const session_info& i)
{
    return json{{"id", i.id},
                {"name", i.name},
                {"account", i.account},
                {"sandbox", i.sandbox},
                {"labels", i.labels},
                {"providers", i.providers},
                {"models", i.models},
                {"operations", i.operations},
                {"created_us", i.created_us},
                {"expires_us", i.expires_us},
                {"own_socket", i.own_socket},
                {"cut_on_revoke", i.cut_on_revoke},
                {"gone_policy", i.gone_policy},
                {"token_hint", i.token_hint}};
}

json describe(const session& s, std::int64_t now_us)
{
    json out = facts_of(s.info);
    const bool revoked = s.revoked.load(std::memory_order_acquire);
    out["state"] = revoked ? "revoked" : s.expired(now_us) ? "expired" : "active";
    out["limits"] = limit_states(*s.budget, now_us);
    out["in_flight"] = s.budget->in_flight();
    out["connections"] = s.connections.load(std::memory_order_relaxed);
    if (s.credential)
        out["credential"] = {{"provider", s.credential->provider},
                             {"upstream_url", s.credential->upstream_url}};
    return out;
}

/// One that is only in the books any more.
json describe_ended(const session_info& i, std::int64_t now_us)
{
    json out = facts_of(i);
    const bool expired_first =
        i.expires_us != 0 && i.expires_us <= (i.revoked_us == 0 ? now_us : i.revoked_us);
    out["state"] = expired_first ? "expired" : "revoked";
    if (i.revoked_us != 0) out["revoked_us"] = i.revoked_us;
    json limits = json::array();
    for (const auto& l : i.limits) {
        limits.push_back(json{{"limit", metering::to_string(l)}});
    }
    out["limits"] = std::move(limits);
    out["in_flight"] = 0;
    out["connections"] = 0;
    return out;
}

void check_providers(const config::settings& settings, const std::vector<std::string>& wanted)
{
    for (const auto& name : wanted) {
        const auto& have = settings.providers;
        if (std::ranges::find(have, name, &config::provider::name) != have.end()) continue;
        std::string all;
        for (const auto& p : have) {
            all += (all.empty() ? "" : ", ") + p.name;
        }
        throw std::invalid_argument("providers: \"" + name + "\" is not configured (" +
                                    (all.empty() ? "none is" : "one of: " + all) + ")");
    }
}

void retire_expired(control_surface& c, std::int64_t now_us)
{
    for (const auto& s : c.registry.retire_expired(now_us - expired_shown_us)) {
        if (c.revoked) c.revoked(s);
    }
}

json accounts_json(control_surface& c, const std::string& only)
{
    const std::int64_t now_us = metering::now_us();
    json out = json::array();
    for (const auto& a : c.store.accounts()) {
        if (!only.empty() && a.id != only) continue;
        const auto budget = c.store.account_budget(a.id);
        json row{{"id", a.id}, {"limits", json::array()}, {"in_flight", 0}};
        if (budget) {
            row["limits"] = limit_states(*budget, now_us);
            row["in_flight"] = budget->in_flight();
        }
        out.push_back(std::move(row));
    }
    return out;
}

bool flag_of(const admin_request& r, const char* name)
{
    const auto at = r.query.find(name);
    if (at == r.query.end()) return false;
    if (at->second.empty() || at->second == "1" || at->second == "true") return true;
    if (at->second == "0" || at->second == "false") return false;
    throw std::invalid_argument(std::string(name) + ": expected 1 or 0");
}

}  // namespace

void finish_revocation(control_surface& c, std::span<const session_ptr> gone)
{
    for (const auto& s : gone) {
        if (c.revoked) c.revoked(s);
    }
    try {
        for (const auto& s : gone) {
            c.store.mark_revoked(s->info.id, metering::now_us());
        }
    } catch (const std::exception& e) {
        throw std::runtime_error("revoked now, but back after a restart: sessions.db: " +
                                 std::string(e.what()) + " (mend the disk, then revoke it again)");
    }
}

admin_answer create_session(control_surface& c, const admin_request& r)
{
    const fields body(r.body, {"name", "account", "sandbox", "labels", "providers", "models", "operations",
                               "limits", "ttl", "own_socket", "cut_on_revoke", "gone_policy"});
    const auto settings = c.settings();
    const std::int64_t now_us = metering::now_us();
    session_info i;
    i.name = body.text("name");
    i.account = body.text("account");
    i.sandbox = body.text("sandbox");
    i.labels = body.text_map("labels");
    i.providers = body.texts("providers");
    i.models = body.texts("models");
    i.operations = body.texts("operations");
    i.limits = body.limits("limits");
    i.own_socket = body.flag("own_socket", false);
    i.cut_on_revoke = body.flag("cut_on_revoke", true);
    i.gone_policy = body.text("gone_policy");
    const double ttl = body.duration("ttl", settings->sessions.ttl);
    if (ttl > 0) i.expires_us = now_us + std::max<std::int64_t>(static_cast<std::int64_t>(ttl * 1e6), 1);
    check_providers(*settings, i.providers);
    if (i.own_socket && !c.bind_own_socket)
        throw std::invalid_argument("own_socket: this proxy has no agents.session_sockets");

    retire_expired(c, now_us);
    minted_session minted = c.store.create(c.registry, std::move(i), {}, std::nullopt);
    json out = describe(*minted.live, metering::now_us());
    if (minted.live->info.own_socket) {
        try {
            out["socket"] = c.bind_own_socket(minted.live);
        } catch (const std::exception&) {
            // Nobody could ever use it.
            c.registry.revoke_id(minted.live->info.id);
            finish_revocation(c, {&minted.live, 1});
            throw;
        }
    }
    if (!minted.token.empty()) out["token"] = minted.token;
    admin_answer answer = json_answer(201, out);
    // TOKEN_STAYS_HOME: from here on it stands in the answer only.
    if (auto* copy = out.contains("token") ? out["token"].get_ptr<std::string*>() : nullptr)
        config::wipe(copy->data(), copy->size());
    config::wipe(minted.token.data(), minted.token.size());
    return answer;
}

admin_answer list_sessions(control_surface& c, const admin_request& r)
{
    for (const auto& [name, value] : r.query) {
        if (name != "all" && name != "sandbox" && name != "account")
            throw std::invalid_argument("unknown parameter \"" + name + "\" (one of: all, sandbox, account)");
    }
    const auto wanted = [&](const session_info& i) {
        const auto sandbox = r.query.find("sandbox");
        const auto account = r.query.find("account");
        return (sandbox == r.query.end() || sandbox->second == i.sandbox) &&
               (account == r.query.end() || account->second == i.account);
    };
    const std::int64_t now_us = metering::now_us();
    const bool all = flag_of(r, "all");
    json out = json::array();
    std::set<std::string> shown;
    for (const auto& s : c.registry.all()) {
        if (!wanted(s->info) || (!all && s->expired(now_us))) continue;
        shown.insert(s->info.id);
        out.push_back(describe(*s, now_us));
    }
    if (all) {
        for (const auto& i : c.store.list(true)) {
            if (wanted(i) && !shown.contains(i.id)) out.push_back(describe_ended(i, now_us));
        }
    }
    return json_answer(200, out);
}

admin_answer show_session(control_surface& c, const admin_request& r)
{
    const std::string& id = r.wild.at(0);
    const std::int64_t now_us = metering::now_us();
    if (const auto s = c.registry.find_id(id)) return json_answer(200, describe(*s, now_us));
    if (const auto ended = c.store.find(id)) return json_answer(200, describe_ended(*ended, now_us));
    throw admin_error(404, "there is no session with this id");
}

admin_answer revoke_session(control_surface& c, const admin_request& r)
{
    const std::string& id = r.wild.at(0);
    if (const auto s = c.registry.revoke_id(id))
        finish_revocation(c, {&s, 1});
    else if (c.store.find(id))
        c.store.mark_revoked(id, metering::now_us());  // again: perhaps the disk was full
    else
        throw admin_error(404, "there is no session with this id");
    return json_answer(200, json{{"id", id}, {"state", "revoked"}});
}

/// By token, in a body: paths end in logs.
admin_answer revoke_token(control_surface& c, const admin_request& r)
{
    const fields body(r.body, {"token"});
    std::string token = body.text("token");
    if (token.empty()) throw std::invalid_argument("token: is required");
    const auto s = c.registry.revoke_token(token);
    config::wipe(token.data(), token.size());
    if (!s) throw admin_error(404, "no live session has this token");
    finish_revocation(c, {&s, 1});
    return json_answer(200, json{{"id", s->info.id}, {"state", "revoked"}});
}

admin_answer revoke_sandbox(control_surface& c, const admin_request& r)
{
    const auto gone = c.registry.revoke_sandbox(r.wild.at(0));
    finish_revocation(c, gone);
    return json_answer(200, json{{"sandbox", r.wild.at(0)}, {"revoked", gone.size()}});
}

admin_answer put_account(control_surface& c, const admin_request& r)
{
    const fields body(r.body, {"limits"});
    const std::string& id = r.wild.at(0);
    // What a new limit's window has seen is read from the rows.
    if (!c.books.flush(seconds_to_flush))
        throw admin_error(
            503, "the ledger is behind (is the disk full, or the database locked?), so what was used so far "
                 "is not known; the limits stay as they are, try again");
    c.store.put_account({id, body.limits("limits")}, c.books, metering::now_us());
    return json_answer(200, accounts_json(c, id).at(0));
}

admin_answer list_accounts(control_surface& c, const admin_request&)
{
    return json_answer(200, accounts_json(c, {}));
}

admin_answer show_account(control_surface& c, const admin_request& r)
{
    const json found = accounts_json(c, r.wild.at(0));
    if (r.wild.at(0).empty() || found.empty()) throw admin_error(404, "there is no account with this id");
    return json_answer(200, found.at(0));
}

}  // namespace keyhole::proxy::admin
