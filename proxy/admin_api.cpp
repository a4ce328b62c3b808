#include "proxy/admin_api.hpp"

#include "config/url.hpp"
#include "metering/record.hpp"

#include <algorithm>
#include <charconv>
#include <ctime>
#include <set>
#include <stdexcept>

namespace keyhole::proxy {
namespace {

using nlohmann::json;

std::vector<std::string> strings_of(const json& body, const char* field)
{
    const auto at = body.find(field);
    if (at == body.end() || at->is_null()) return {};
    if (at->is_string()) return {at->get<std::string>()};
    if (!at->is_array()) throw std::invalid_argument(std::string(field) + ": expected a list of strings");
    std::vector<std::string> out;
    for (const auto& item : *at) {
        if (!item.is_string())
            throw std::invalid_argument(std::string(field) + ": expected a list of strings");
        out.push_back(item.get<std::string>());
    }
    return out;
}

std::string string_of(const json& body, const char* field)
{
    const auto at = body.find(field);
    if (at == body.end() || at->is_null()) return {};
    if (!at->is_string()) throw std::invalid_argument(std::string(field) + ": expected a string");
    return at->get<std::string>();
}

bool bool_of(const json& body, const char* field, bool otherwise)
{
    const auto at = body.find(field);
    if (at == body.end() || at->is_null()) return otherwise;
    if (!at->is_boolean()) throw std::invalid_argument(std::string(field) + ": expected true or false");
    return at->get<bool>();
}

std::vector<metering::limit> limits_of(const json& body)
{
    std::vector<metering::limit> out;
    for (const auto& text : strings_of(body, "limits")) {
        const auto l = metering::parse_limit(text);
        if (!l)
            throw std::invalid_argument("limits: \"" + text +
                                        "\" is not understood (write usd=2.50, tokens/hour=100000, "
                                        "requests/minute=60 or concurrency=4)");
        out.push_back(*l);
    }
    return out;
}

json parse_object(const std::string& text, const std::set<std::string>& known)
{
    json body;
    try {
        body = json::parse(text);
    } catch (const json::exception&) {
        throw std::invalid_argument("the body is not valid JSON");
    }
    if (!body.is_object()) throw std::invalid_argument("the body must be a JSON object");
    for (const auto& [key, value] : body.items())
        if (!known.contains(key)) {
            std::string all;
            for (const auto& k : known)
                all += (all.empty() ? "" : ", ") + k;
            throw std::invalid_argument("unknown field \"" + key + "\" (one of: " + all + ")");
        }
    return body;
}

json limit_states(const session& s, std::int64_t now_us)
{
    json out = json::array();
    for (const auto& state : s.budget->state(now_us)) {
        const bool usd = state.which.unit == metering::limit_unit::usd;
        const auto shown = [&](std::int64_t v) -> json {
            return usd ? json(metering::format_usd(v)) : json(v);
        };
        const auto left = std::max<std::int64_t>(state.which.value - state.used - state.reserved, 0);
        json row{{"limit", metering::to_string(state.which)},
                 {"used", shown(state.used)},
                 {"reserved", shown(state.reserved)},
                 {"remaining", shown(left)}};
        if (state.resets_us != 0 && state.resets_us != INT64_MAX) row["resets_us"] = state.resets_us;
        out.push_back(std::move(row));
    }
    return out;
}

json describe(const session& s, std::int64_t now_us)
{
    const auto& i = s.info;
    json out{{"id", i.id},
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
             {"token_hint", i.token_hint},
             {"state", s.revoked           ? "revoked"
                       : s.expired(now_us) ? "expired"
                                           : "active"},
             {"limits", limit_states(s, now_us)},
             {"in_flight", s.budget->in_flight()}};
    if (s.credential)
        out["credential"] = {{"provider", s.credential->provider},
                             {"upstream_url", s.credential->upstream_url}};
    return out;
}

void revoke(control_surface& c, const session_ptr& s)
{
    c.store.mark_revoked(s->info.id, metering::now_us());
    c.revoked(s);
}

admin_answer create_session(control_surface& c, const admin_request& r)
{
    const auto body =
        parse_object(r.body, {"name", "account", "sandbox", "labels", "providers", "models", "operations",
                              "limits", "ttl", "own_socket", "cut_on_revoke", "gone_policy", "token"});
    session_info i;
    i.name = string_of(body, "name");
    i.account = string_of(body, "account");
    i.sandbox = string_of(body, "sandbox");
    i.providers = strings_of(body, "providers");
    i.models = strings_of(body, "models");
    i.operations = strings_of(body, "operations");
    i.limits = limits_of(body);
    i.own_socket = bool_of(body, "own_socket", false);
    i.cut_on_revoke = bool_of(body, "cut_on_revoke", true);
    i.gone_policy = string_of(body, "gone_policy");
    if (const auto at = body.find("labels"); at != body.end()) {
        if (!at->is_object()) throw std::invalid_argument("labels: expected an object of strings");
        for (const auto& [key, value] : at->items()) {
            if (!value.is_string()) throw std::invalid_argument("labels: expected an object of strings");
            i.labels[key] = value.get<std::string>();
        }
    }
    double ttl = c.settings()->sessions.ttl;
    if (const auto at = body.find("ttl"); at != body.end() && !at->is_null()) {
        if (at->is_number())
            ttl = at->get<double>();
        else
            ttl = parse_duration(string_of(body, "ttl"));
        if (!(ttl >= 0) || ttl > 3.2e9) throw std::invalid_argument("ttl: expected seconds, or e.g. \"24h\"");
    }
    if (ttl > 0) i.expires_us = metering::now_us() + static_cast<std::int64_t>(ttl * 1e6);
    for (const auto& p : i.providers) {
        const auto settings = c.settings();
        const bool known = std::any_of(settings->providers.begin(), settings->providers.end(),
                                       [&](const auto& k) { return k.name == p; });
        if (!known) throw std::invalid_argument("providers: \"" + p + "\" is not configured");
    }
    auto minted = c.store.create(c.registry, std::move(i), string_of(body, "token"), std::nullopt);
    auto out = describe(*minted.live, metering::now_us());
    if (!minted.token.empty()) out["token"] = minted.token;
    if (minted.live->info.own_socket) {
        try {
            out["socket"] = c.bind_own_socket(minted.live);
        } catch (const std::exception&) {
            c.registry.revoke_id(minted.live->info.id);
            revoke(c, minted.live);
            throw;
        }
    }
    auto answer = json_answer(201, out);
    config::wipe(minted.token.data(), minted.token.size());
    return answer;
}

admin_answer list_sessions(control_surface& c, const admin_request& r)
{
    const auto now = metering::now_us();
    const auto sandbox = r.query.find("sandbox");
    json out = json::array();
    std::set<std::string> live;
    for (const auto& s : c.registry.all()) {
        live.insert(s->info.id);
        if (sandbox == r.query.end() || s->info.sandbox == sandbox->second) out.push_back(describe(*s, now));
    }
    if (r.query.contains("all"))
        for (auto& i : c.store.list(true))
            if (!live.contains(i.id) && (sandbox == r.query.end() || i.sandbox == sandbox->second)) {
                const session ended(std::move(i),
                                    std::make_shared<metering::budget>("", std::vector<metering::limit>{}),
                                    std::nullopt);
                auto row = describe(ended, now);
                if (row["state"] == "active") row["state"] = "revoked";
                out.push_back(std::move(row));
            }
    return json_answer(200, out);
}

metering::group_by group_of(const std::string& name)
{
    using metering::group_by;
    const std::pair<const char*, group_by> names[] = {
        {"none", group_by::none},         {"session", group_by::session}, {"account", group_by::account},
        {"sandbox", group_by::sandbox},   {"run", group_by::run},         {"model", group_by::model},
        {"provider", group_by::provider}, {"route", group_by::route},     {"day", group_by::day},
        {"outcome", group_by::outcome},   {"source", group_by::source}};
    std::string all;
    for (const auto& [text, value] : names) {
        if (name == text) return value;
        all += (all.empty() ? "" : ", ") + std::string(text);
    }
    throw std::invalid_argument("by: \"" + name + "\" is unknown (one of: " + all + ")");
}

metering::usage_query query_of(const admin_request& r)
{
    metering::usage_query q;
    const auto now = metering::now_us();
    for (const auto& [key, value] : r.query) {
        if (key == "by")
            q.by = group_of(value);
        else if (key == "since")
            q.since_us = parse_time(value, now);
        else if (key == "until")
            q.until_us = parse_time(value, now);
        else if (key == "session")
            q.session = value;
        else if (key == "account")
            q.account = value;
        else if (key == "sandbox")
            q.sandbox = value;
        else if (key == "provider")
            q.provider = value;
        else if (key == "model")
            q.model = value;
        else if (key == "limit") {
            const auto [end, ec] = std::from_chars(value.data(), value.data() + value.size(), q.limit);
            if (ec != std::errc{} || end != value.data() + value.size() || q.limit == 0 || q.limit > 100'000)
                throw std::invalid_argument("limit: expected a number from 1 to 100000");
        } else
            throw std::invalid_argument("unknown parameter \"" + key + "\"");
    }
    return q;
}

admin_answer usage(control_surface& c, const admin_request& r)
{
    c.books.flush(1);  // what was answered before this question is in its answer
    json out = json::array();
    for (const auto& [name, sum] : c.books.usage(query_of(r))) {
        auto row = to_json(sum);
        row["group"] = name;
        out.push_back(std::move(row));
    }
    return json_answer(200, out);
}

admin_answer requests(control_surface& c, const admin_request& r)
{
    c.books.flush(1);
    auto q = query_of(r);
    if (!r.query.contains("limit")) q.limit = 50;
    json out = json::array();
    for (const auto& row : c.books.rows(q))
        out.push_back(to_json(row));
    return json_answer(200, out);
}

admin_answer status(control_surface& c)
{
    const auto h = c.books.health();
    const auto reason = c.not_ready();
    return json_answer(200, json{{"version", KEYHOLE_VERSION},
                                 {"ready", reason.empty()},
                                 {"reason", reason},
                                 {"sessions", c.registry.size()},
                                 {"agent_connections", c.agent_connections()},
                                 {"ledger",
                                  {{"rows_written", h.rows_written},
                                   {"waiting", h.waiting},
                                   {"failing", h.failing},
                                   {"last_error", h.last_error}}}});
}

admin_answer put_account(control_surface& c, const admin_request& r, const std::string& id)
{
    const auto body = parse_object(r.body, {"limits"});
    const account_info account{id, limits_of(body)};
    c.store.put_account(account, c.books, metering::now_us());
    return json_answer(200, json{{"id", id}, {"limits", strings_of(body, "limits")}});
}

admin_answer list_accounts(control_surface& c)
{
    json out = json::array();
    for (const auto& a : c.store.accounts()) {
        json limits = json::array();
        for (const auto& l : a.limits)
            limits.push_back(metering::to_string(l));
        out.push_back({{"id", a.id}, {"limits", limits}});
    }
    return json_answer(200, out);
}

std::size_t revoke_all_of(control_surface& c, const std::string& sandbox)
{
    const auto gone = c.registry.revoke_sandbox(sandbox);
    for (const auto& s : gone)
        revoke(c, s);
    return gone.size();
}

admin_answer ours(control_surface& c, const admin_request& r, std::string_view path)
{
    const auto after = [&](std::string_view prefix) { return std::string(path.substr(prefix.size())); };
    if (path == "/sessions" && r.method == "POST") return create_session(c, r);
    if (path == "/sessions" && r.method == "GET") return list_sessions(c, r);
    if (path.starts_with("/sessions/")) {
        const auto id = after("/sessions/");
        if (r.method == "GET") {
            const auto s = c.registry.find_id(id);
            return s ? json_answer(200, describe(*s, metering::now_us()))
                     : error_answer(404, "no live session has this id");
        }
        if (r.method == "DELETE") {
            const auto s = c.registry.revoke_id(id);
            if (!s) return error_answer(404, "no live session has this id");
            revoke(c, s);
            return json_answer(200, json{{"id", id}, {"state", "revoked"}});
        }
    }
    if (path == "/revoke" && r.method == "POST") {  // by token: in a body, since paths end in logs
        const auto body = parse_object(r.body, {"token"});
        const auto s = c.registry.revoke_token(string_of(body, "token"));
        if (!s) return error_answer(404, "no live session has this token");
        revoke(c, s);
        return json_answer(200, json{{"id", s->info.id}, {"state", "revoked"}});
    }
    if (path.starts_with("/sandboxes/") && path.ends_with("/sessions") && r.method == "DELETE") {
        auto id = after("/sandboxes/");
        id.resize(id.size() - std::string_view("/sessions").size());
        return json_answer(200, json{{"sandbox", id}, {"revoked", revoke_all_of(c, id)}});
    }
    if (path == "/accounts" && r.method == "GET") return list_accounts(c);
    if (path.starts_with("/accounts/") && r.method == "PUT") return put_account(c, r, after("/accounts/"));
    if (path == "/usage" && r.method == "GET") return usage(c, r);
    if (path == "/requests" && r.method == "GET") return requests(c, r);
    if (path == "/status" && r.method == "GET") return status(c);
    return error_answer(404, "unknown admin path; see docs/admin-api.md");
}

// GhostProxy's registry, as its client uses it.

admin_answer ghost_register(control_surface& c, const admin_request& r)
{
    const auto body = parse_object(r.body, {"token", "provider", "api_key", "upstream_url", "sandbox_id"});
    const auto token = string_of(body, "token");
    session_credential credential;
    credential.provider = string_of(body, "provider");
    auto key = string_of(body, "api_key");
    credential.upstream_url = string_of(body, "upstream_url");
    const bool keyless = credential.provider == "ollama";
    if (token.empty() || credential.provider.empty() || (key.empty() && !keyless))
        return error_answer(400, "token, provider, and api_key are required");
    const auto settings = c.settings();
    const bool known = config::find_provider_preset(credential.provider) != nullptr ||
                       std::any_of(settings->providers.begin(), settings->providers.end(),
                                   [&](const auto& p) { return p.name == credential.provider; });
    if (!known && credential.upstream_url.empty()) return error_answer(400, "unknown provider");
    if (!credential.upstream_url.empty()) {
        config::provider probe;
        if (const auto what = config::set_base_url(probe, credential.upstream_url, true); !what.empty())
            return error_answer(400, "upstream_url " + what);
    }
    for (const char ch : key)
        if (ch <= 0x20 || ch == 0x7f)
            return error_answer(400, "api_key holds white space or control characters");
    if (!key.empty()) credential.key = std::make_shared<const config::secret>(key);
    config::wipe(key.data(), key.size());
    session_info i;
    i.sandbox = string_of(body, "sandbox_id");
    if (const auto old = c.registry.revoke_token(token)) revoke(c, old);  // registering again replaces
    c.store.create(c.registry, std::move(i), token, std::move(credential));
    return json_answer(201, json{{"status", "registered"}});
}

admin_answer ghost_list(control_surface& c)
{
    json out = json::array();
    for (const auto& s : c.registry.all()) {
        const auto provider = s->credential                   ? s->credential->provider
                              : s->info.providers.size() == 1 ? s->info.providers.front()
                                                              : std::string();
        json row{{"provider", provider}, {"sandbox_id", s->info.sandbox}};
        if (s->credential && !s->credential->upstream_url.empty())
            row["upstream_url"] = s->credential->upstream_url;
        out.push_back(std::move(row));
    }
    return json_answer(200, out);
}

admin_answer ghost_usage(control_surface& c, const std::string& token)
{
    metering::usage_sum total;
    if (const auto s = c.registry.find_token(token)) {
        c.books.flush(1);
        metering::usage_query q;
        q.session = s->info.id;
        for (const auto& [name, sum] : c.books.usage(q))
            total = sum;
    }
    return json_answer(200, json{{"input_tokens", total.counts.all_input()},
                                 {"output_tokens", total.counts.all_output()},
                                 {"requests", total.requests}});
}

admin_answer ghostproxy(control_surface& c, const admin_request& r)
{
    const auto& path = r.path;
    if (path == "/v1/health" && r.method == "GET") return json_answer(200, json{{"status", "ok"}});
    if (!r.trusted && !r.token_configured) return error_answer(503, "admin api disabled");
    if (!r.trusted && !r.authorized) return error_answer(401, "unauthorized");
    constexpr std::string_view one = "/v1/sessions/";
    constexpr std::string_view boxes = "/v1/sandboxes/";
    constexpr std::string_view tail = "/sessions";
    constexpr std::string_view usage_tail = "/usage";
    if (path == "/v1/sessions" && r.method == "POST") return ghost_register(c, r);
    if (path == "/v1/sessions" && r.method == "GET") return ghost_list(c);
    if (path.starts_with(one) && path.ends_with(usage_tail) && r.method == "GET")
        return ghost_usage(c, path.substr(one.size(), path.size() - one.size() - usage_tail.size()));
    if (path.starts_with(one) && r.method == "DELETE") {
        const auto token = path.substr(one.size());
        if (token.empty()) return error_answer(400, "token is required");
        if (const auto s = c.registry.revoke_token(token)) revoke(c, s);
        return json_answer(200, json{{"status", "revoked"}});
    }
    if (path.starts_with(boxes) && path.ends_with(tail) && path.size() > boxes.size() + tail.size() &&
        r.method == "DELETE")
    {
        const auto id = path.substr(boxes.size(), path.size() - boxes.size() - tail.size());
        return json_answer(200,
                           json{{"status", "revoked"}, {"count", revoke_all_of(c, id)}, {"sandbox", id}});
    }
    return error_answer(404, "unknown path");
}

}  // namespace

admin_answer json_answer(int status, const json& body)
{
    return {status, "application/json", body.dump(-1, ' ', false, json::error_handler_t::replace) + '\n'};
}

admin_answer error_answer(int status, std::string_view message)
{
    return json_answer(status, json{{"error", message}});
}

admin_answer answer_admin(control_surface& surface, const admin_request& request)
{
    try {
        constexpr std::string_view prefix = "/admin/v1";
        if (!std::string_view(request.path).starts_with(prefix)) return ghostproxy(surface, request);
        if (!request.trusted && !request.token_configured) return error_answer(503, "admin api disabled");
        if (!request.trusted && !request.authorized) return error_answer(401, "unauthorized");
        return ours(surface, request, std::string_view(request.path).substr(prefix.size()));
    } catch (const std::invalid_argument& e) {
        return error_answer(400, e.what());
    } catch (const std::exception& e) {
        return error_answer(500, e.what());
    }
}

admin_answer answer_metrics(control_surface& surface, std::string_view method, std::string_view path)
{
    if (method != "GET" && method != "HEAD") return error_answer(405, "GET or HEAD");
    if (path == "/metrics") return {200, "text/plain; version=0.0.4; charset=utf-8", surface.meters.render()};
    if (path == "/healthz") return {200, "text/plain", "ok\n"};
    if (path == "/readyz") {
        const auto reason = surface.not_ready();
        return reason.empty() ? admin_answer{200, "text/plain", "ready\n"}
                              : admin_answer{503, "text/plain", reason + '\n'};
    }
    return error_answer(404, "only /metrics, /healthz and /readyz are served here");
}

double parse_duration(std::string_view text)
{
    double n = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), n);
    const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
    const std::pair<std::string_view, double> units[] = {{"", 1},     {"s", 1},      {"m", 60},
                                                         {"h", 3600}, {"d", 86'400}, {"w", 604'800}};
    if (ec == std::errc{} && n >= 0)
        for (const auto& [name, factor] : units)
            if (unit == name) return n * factor;
    throw std::invalid_argument("\"" + std::string(text) +
                                "\" is not a duration (write e.g. 90s, 15m, 24h, 7d)");
}

std::int64_t parse_time(std::string_view text, std::int64_t now_us)
{
    std::tm parts{};
    const std::string copy(text);
    for (const char* form : {"%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"}) {
        parts = {};
        const char* end = ::strptime(copy.c_str(), form, &parts);
        if (end != nullptr && *end == '\0') return std::int64_t{::timegm(&parts)} * 1'000'000;
    }
    std::int64_t us = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), us);
    if (ec == std::errc{} && end == text.data() + text.size() && us > 1'000'000'000'000) return us;
    return now_us - static_cast<std::int64_t>(parse_duration(text) * 1e6);
}

json to_json(const metering::usage_sum& s)
{
    const auto& c = s.counts;
    return json{{"requests", s.requests},
                {"input", c.input},
                {"cache_read", c.cache_read},
                {"cache_write_5m", c.cache_write_5m},
                {"cache_write_1h", c.cache_write_1h},
                {"output", c.output},
                {"output_reasoning", c.output_reasoning},
                {"input_audio", c.input_audio},
                {"output_audio", c.output_audio},
                {"input_image", c.input_image},
                {"output_image", c.output_image},
                {"web_searches", c.web_searches},
                {"total_input", c.all_input()},
                {"total_output", c.all_output()},
                {"total_tokens", c.total()},
                {"cost_nano_usd", s.cost_nano_usd},
                {"cost_usd", metering::format_usd(s.cost_nano_usd)},
                {"unpriced_requests", s.unpriced_requests},
                {"estimated_requests", s.estimated_requests},
                {"unknown_requests", s.unknown_requests},
                {"errors", s.errors}};
}

json to_json(const metering::record& r)
{
    metering::usage_sum sum;
    sum.counts = r.counts;
    sum.cost_nano_usd = r.cost_nano_usd;
    auto out = to_json(sum);
    for (const auto* not_a_rows :
         {"requests", "unpriced_requests", "estimated_requests", "unknown_requests", "errors"})
        out.erase(not_a_rows);
    const auto id = metering::format_request_id(r.request_id);
    out["request_id"] = std::string(id.data(), id.size());
    const std::pair<const char*, std::string_view> texts[] = {
        {"session", r.session.view()},
        {"account", r.account.view()},
        {"sandbox", r.sandbox.view()},
        {"run", r.run.view()},
        {"attempt", r.attempt.view()},
        {"provider", r.provider.view()},
        {"route", r.route.view()},
        {"model", r.model.view()},
        {"answered_model", r.answered_model.view()},
        {"provider_request_id", r.provider_request_id.view()},
        {"answer_id", r.answer_id.view()},
        {"service_tier", r.service_tier.view()},
        {"error", r.error.view()},
        {"price_version", r.price_version.view()},
        {"wire", metering::to_string(r.format)},
        {"usage_source", metering::to_string(r.source)},
        {"outcome", metering::to_string(r.end)}};
    for (const auto& [key, value] : texts)
        out[key] = std::string(value);
    out["status"] = r.status;
    out["stream"] = r.stream;
    out["agent_gone"] = r.agent_gone;
    out["priced"] = r.priced;
    out["total_mismatch"] = r.total_mismatch;
    out["provider_cost_nano_usd"] = r.provider_cost_nano_usd;
    out["received_us"] = r.received_us;
    out["forwarded_us"] = r.forwarded_us;
    out["first_byte_us"] = r.first_byte_us;
    out["first_token_us"] = r.first_token_us;
    out["ended_us"] = r.ended_us;
    out["bytes_in"] = r.bytes_in;
    out["bytes_out"] = r.bytes_out;
    return out;
}

}  // namespace keyhole::proxy
