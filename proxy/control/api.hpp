// What the control plane answers, as functions of a request: no sockets here (admin_http.cpp is the listener
// around it). One table of paths in admin_api.cpp; the functions behind it stand in admin_sessions,
// admin_usage, admin_ghostproxy and metrics_http. Thread rule: the control thread, but for answers marked
// `reads_books`.
#pragma once

#include "proxy/control/admin.hpp"

#include <nlohmann/json_fwd.hpp>

#include <map>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace keyhole::proxy {

struct admin_request {
    std::string method;
    std::vector<std::string> path;             ///< decoded segments: "/a/b%2Fc" is {"a", "b/c"}
    std::map<std::string, std::string> query;  ///< decoded
    std::string body;
    bool trusted = false;     ///< came over the admin socket from root or our own user
    bool authorized = false;  ///< carries the admin token
    bool token_configured = false;
    std::vector<std::string> wild;  ///< what stands at the *s of the matched path

    ~admin_request();  ///< wiped: path and body may hold a key or a token
    admin_request() = default;
    admin_request(admin_request&&) = default;
    admin_request& operator=(admin_request&&) = default;
    admin_request(const admin_request&) = delete;
    admin_request& operator=(const admin_request&) = delete;
};

struct admin_answer {
    int status = 200;
    std::string type = "application/json";
    std::string body;
    std::string allow;  ///< of a 405
};

/// A refusal with its status; answer_admin() turns it into {"error": what()}.
class admin_error : public std::runtime_error {
public:
    admin_error(int status, const std::string& what) : std::runtime_error(what), status_(status) {}
    int status() const noexcept { return status_; }

private:
    int status_;
};

using admin_handler = admin_answer (*)(control_surface&, const admin_request&);

/// What a request is to be answered with.
struct admin_route {
    admin_handler handler = nullptr;  ///< nullptr: `refusal` is the answer
    bool reads_books =
        false;  ///< waits for the disk, touches nothing but the ledger: not on the control thread
    admin_answer refusal;
};

/// Who may ask, and what for. Fills request.wild.
admin_route route_admin(admin_request& request);
/// Never throws; every error is JSON {"error": …}.
admin_answer answer_admin(admin_handler handler, control_surface& surface, const admin_request& request);
/// /metrics, /healthz, /readyz; everything else is 404.
admin_answer answer_metrics(const control_surface& surface, std::string_view method, std::string_view target);

/// Method, decoded path and query of a request line; throws admin_error (400).
admin_request read_target(std::string_view method, std::string_view target);

admin_answer json_answer(int status, const nlohmann::json& body);
admin_answer error_answer(int status, std::string_view message);

// ---- the functions behind the table

namespace admin {

admin_answer create_session(control_surface& c, const admin_request& r);
admin_answer list_sessions(control_surface& c, const admin_request& r);
admin_answer show_session(control_surface& c, const admin_request& r);
admin_answer revoke_session(control_surface& c, const admin_request& r);
admin_answer revoke_token(control_surface& c, const admin_request& r);
admin_answer revoke_sandbox(control_surface& c, const admin_request& r);
admin_answer put_account(control_surface& c, const admin_request& r);
admin_answer list_accounts(control_surface& c, const admin_request& r);
admin_answer show_account(control_surface& c, const admin_request& r);
admin_answer usage(control_surface& c, const admin_request& r);
admin_answer reprice(control_surface& c, const admin_request& r);
admin_answer apply_prices(control_surface& c, const admin_request& r);
admin_answer prune(control_surface& c, const admin_request& r);
admin_answer compact(control_surface& c, const admin_request& r);
admin_answer requests(control_surface& c, const admin_request& r);
admin_answer status(control_surface& c, const admin_request& r);

/// These sessions were taken out of the registry: whoever runs their streams is told, then the disk.
void finish_revocation(control_surface& c, std::span<const session_ptr> gone);

}  // namespace admin

/// The registry API of GhostProxy, as its clients use it.
namespace ghostproxy {

admin_answer health(control_surface& c, const admin_request& r);
admin_answer register_session(control_surface& c, const admin_request& r);
admin_answer list_sessions(control_surface& c, const admin_request& r);
admin_answer revoke_session(control_surface& c, const admin_request& r);
admin_answer revoke_sandbox(control_surface& c, const admin_request& r);
admin_answer session_usage(control_surface& c, const admin_request& r);

}  // namespace ghostproxy

}  // namespace keyhole::proxy
