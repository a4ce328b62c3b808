// What the control plane answers, as functions of a request: no sockets here. admin.cpp is the listener
// around it. Thread rule: the control thread.
#pragma once

#include "proxy/admin.hpp"

#include <nlohmann/json.hpp>

#include <map>
#include <string>
#include <string_view>

namespace keyhole::proxy {

struct admin_request {
    std::string method;
    std::string path;                          ///< decoded, without the query
    std::map<std::string, std::string> query;  ///< decoded
    std::string body;
    bool trusted = false;     ///< came over the admin socket from root or our own user
    bool authorized = false;  ///< carries the admin token
    bool token_configured = false;
};

struct admin_answer {
    int status = 200;
    std::string type = "application/json";
    std::string body;
};

/// Sessions, accounts, usage (/admin/v1/…) and GhostProxy's registry (/v1/…). Never throws; every error is
/// JSON {"error": …}.
admin_answer answer_admin(control_surface& surface, const admin_request& request);
/// /metrics, /healthz, /readyz.
admin_answer answer_metrics(control_surface& surface, std::string_view method, std::string_view path);

/// "7d", "24h", "30m", "90s", "2026-11-21", "2026-11-21T10:00:00Z" or microseconds -> microseconds since
/// 1970, relative ones before `now_us`. Throws std::invalid_argument.
std::int64_t parse_time(std::string_view text, std::int64_t now_us);
/// "90", "90s", "15m", "24h", "7d" -> seconds. Throws std::invalid_argument.
double parse_duration(std::string_view text);

admin_answer json_answer(int status, const nlohmann::json& body);
admin_answer error_answer(int status, std::string_view message);
nlohmann::json to_json(const metering::usage_sum& sum);
nlohmann::json to_json(const metering::record& row);

}  // namespace keyhole::proxy
