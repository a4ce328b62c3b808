// links: keyhole_control
// What administrators and orchestrators send: targets, JSON bodies, durations, points in time. Every mistake
// is an std::invalid_argument or an admin_error with a status.
#include "proxy/control/api.hpp"
#include "proxy/control/fields.hpp"

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <string>

namespace {

using namespace keyhole::proxy;

void attempt(const std::function<void()>& what)
{
    try {
        what();
    } catch (const std::invalid_argument& e) {
        if (*e.what() == '\0') std::abort();
    } catch (const admin_error& e) {
        if (e.status() < 400 || e.status() > 599) std::abort();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    const std::string text(data, data + size);
    attempt([&] {
        admin_request r = read_target("POST", text);
        const admin_route found = route_admin(r);
        if (found.handler == nullptr && found.refusal.status < 400) std::abort();
    });
    attempt([&] {
        const fields f(text, {});
        for (const char* name : {"a", "name", "limits", "labels", "ttl", "provider_keys", "session_id"}) {
            attempt([&] { f.text(name); });
            attempt([&] { f.flag(name, false); });
            attempt([&] { f.texts(name); });
            attempt([&] { f.text_map(name); });
            attempt([&] { f.limits(name); });
            attempt([&] {
                if (std::isnan(f.duration(name, 1))) std::abort();
            });
        }
    });
    attempt([&] {
        if (std::isnan(parse_duration(text))) std::abort();
    });
    attempt([&] { parse_time(text, 1'700'000'000'000'000); });
    return 0;
}
