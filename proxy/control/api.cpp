#include "proxy/control/api.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <stdexcept>

namespace keyhole::proxy {
namespace {

using nlohmann::json;

enum class door : std::uint8_t { open, administrators };

struct endpoint {
    std::string_view method;
    std::string_view path;  ///< segments; a * stands for one segment, whatever it is
    admin_handler handler;
    door who = door::administrators;
    bool reads_books = false;
};

// ONE_TABLE of the control plane. What is not in it is 404.
constexpr std::array endpoints{
    endpoint{"POST", "admin/v1/sessions", admin::create_session},
    endpoint{"GET", "admin/v1/sessions", admin::list_sessions},
    endpoint{"GET", "admin/v1/sessions/*", admin::show_session},
    endpoint{"DELETE", "admin/v1/sessions/*", admin::revoke_session},
    endpoint{"POST", "admin/v1/revoke", admin::revoke_token},
    endpoint{"DELETE", "admin/v1/sandboxes/*/sessions", admin::revoke_sandbox},
    endpoint{"GET", "admin/v1/accounts", admin::list_accounts},
    endpoint{"GET", "admin/v1/accounts/*", admin::show_account},
    endpoint{"PUT", "admin/v1/accounts/*", admin::put_account},
    endpoint{"GET", "admin/v1/usage", admin::usage, door::administrators, true},
    endpoint{"POST", "admin/v1/reprice", admin::reprice, door::administrators, true},
    endpoint{"POST", "admin/v1/reprice/apply", admin::apply_prices, door::administrators, true},
    endpoint{"POST", "admin/v1/prune", admin::prune, door::administrators, true},
    endpoint{"POST", "admin/v1/compact", admin::compact, door::administrators, true},
    endpoint{"GET", "admin/v1/requests", admin::requests, door::administrators, true},
    endpoint{"GET", "admin/v1/status", admin::status},

    endpoint{"GET", "v1/health", ghostproxy::health, door::open},
    endpoint{"POST", "v1/sessions", ghostproxy::register_session},
    endpoint{"GET", "v1/sessions", ghostproxy::list_sessions},
    endpoint{"DELETE", "v1/sessions/*", ghostproxy::revoke_session},
    endpoint{"GET", "v1/sessions/*/usage", ghostproxy::session_usage},
    endpoint{"DELETE", "v1/sandboxes/*/sessions", ghostproxy::revoke_sandbox},
};

bool matches(std::string_view pattern, const std::vector<std::string>& path, std::vector<std::string>& wild)
{
    wild.clear();
    for (const auto& segment : path) {
        const std::string_view expected = pattern.substr(0, pattern.find('/'));
        if (expected.empty()) return false;
        if (expected == "*")
            wild.push_back(segment);
        else if (expected != segment)
            return false;
        pattern.remove_prefix(std::min(expected.size() + 1, pattern.size()));
    }
    return pattern.empty();
}

int hex_value(char c) noexcept
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

std::string decode(std::string_view text, bool plus_is_space)
{
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            out += plus_is_space && text[i] == '+' ? ' ' : text[i];
            continue;
        }
        const int high = i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
        const int low = i + 2 < text.size() ? hex_value(text[i + 2]) : -1;
        if (high < 0 || low < 0 || (high == 0 && low == 0))
            throw admin_error(
                400, "the path or query has a % that two hexadecimal digits (other than 00) don't follow");
        out += static_cast<char>(high * 16 + low);
        i += 2;
    }
    return out;
}

}  // namespace

admin_request::~admin_request()
{
    config::wipe(body.data(), body.size());
    for (auto* list : {&path, &wild}) {
        for (auto& text : *list) {
            config::wipe(text.data(), text.size());
        }
    }
}

admin_request read_target(std::string_view method, std::string_view target)
{
    admin_request out;
    out.method = method;
    if (!target.starts_with('/')) throw admin_error(400, "the request's target must be a path");
    const std::size_t question = target.find('?');
    std::string_view path = target.substr(1, question == std::string_view::npos ? question : question - 1);
    while (true) {
        const std::size_t slash = path.find('/');
        out.path.push_back(decode(path.substr(0, slash), false));
        if (slash == std::string_view::npos) break;
        path.remove_prefix(slash + 1);
    }
    std::string_view query =
        question == std::string_view::npos ? std::string_view() : target.substr(question + 1);
    while (!query.empty()) {
        const std::string_view pair = query.substr(0, query.find('&'));
        query.remove_prefix(std::min(pair.size() + 1, query.size()));
        if (pair.empty()) continue;
        const std::size_t equals = pair.find('=');
        std::string key = decode(pair.substr(0, equals), true);
        std::string value =
            equals == std::string_view::npos ? std::string() : decode(pair.substr(equals + 1), true);
        if (!out.query.emplace(key, std::move(value)).second)
            throw admin_error(400, "the parameter \"" + key + "\" stands twice");
    }
    return out;
}

admin_route route_admin(admin_request& request)
{
    const endpoint* found = nullptr;
    std::string other_methods;
    std::vector<std::string> wild;
    for (const auto& e : endpoints) {
        if (!matches(e.path, request.path, wild)) continue;
        if (e.method != request.method) {
            other_methods.append(other_methods.empty() ? "" : ", ").append(e.method);
            continue;
        }
        found = &e;
        request.wild = std::move(wild);
        break;
    }
    admin_route out;
    // Who asks is looked at first: a stranger doesn't even learn which paths there are.
    const bool is_open = found != nullptr && found->who == door::open;
    if (!is_open && !request.trusted && !request.authorized) {
        out.refusal = request.token_configured ? error_answer(401, "unauthorized")
                                               : error_answer(503, "admin api disabled");
        return out;
    }
    if (found == nullptr && other_methods.empty()) {
        out.refusal =
            error_answer(404, "unknown path; the admin API is /admin/v1/sessions, accounts, usage, requests "
                              "and status, and GhostProxy's /v1/sessions");
        return out;
    }
    if (found == nullptr) {
        out.refusal = error_answer(405, "this path takes " + other_methods);
        out.refusal.allow = std::move(other_methods);
        return out;
    }
    out.handler = found->handler;
    out.reads_books = found->reads_books;
    return out;
}

admin_answer answer_admin(admin_handler handler, control_surface& surface, const admin_request& request)
{
    try {
        return handler(surface, request);
    } catch (const admin_error& e) {
        return error_answer(e.status(), e.what());
    } catch (const std::invalid_argument& e) {
        return error_answer(400, e.what());
    } catch (const std::exception& e) {
        return error_answer(500, e.what());
    }
}

admin_answer json_answer(int status, const json& body)
{
    admin_answer out;
    out.status = status;
    out.body = body.dump(-1, ' ', false, json::error_handler_t::replace) + '\n';
    return out;
}

admin_answer error_answer(int status, std::string_view message)
{
    return json_answer(status, json{{"error", message}});
}

}  // namespace keyhole::proxy
