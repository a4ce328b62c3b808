// The metrics listener: three paths for probes and scrapers, nothing else.
#include "proxy/control/api.hpp"

namespace keyhole::proxy {

admin_answer answer_metrics(const control_surface& surface, std::string_view method, std::string_view target)
{
    const auto text = [](int status, std::string body) {
        admin_answer out;
        out.status = status;
        out.type = "text/plain; charset=utf-8";
        out.body = std::move(body);
        return out;
    };
    const std::string_view path = target.substr(0, target.find('?'));
    const bool served = path == "/metrics" || path == "/healthz" || path == "/readyz";
    if (!served) return text(404, "only /metrics, /healthz and /readyz are served here\n");
    if (method != "GET" && method != "HEAD") {
        admin_answer out = text(405, "GET or HEAD\n");
        out.allow = "GET, HEAD";
        return out;
    }
    if (path == "/healthz") return text(200, "ok\n");
    if (path == "/readyz") {
        const std::string reason = surface.not_ready ? surface.not_ready() : std::string();
        return reason.empty() ? text(200, "ready\n") : text(503, reason + '\n');
    }
    admin_answer out = text(200, surface.meters.render());
    out.type = "text/plain; version=0.0.4; charset=utf-8";
    return out;
}

}  // namespace keyhole::proxy
