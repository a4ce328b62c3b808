#include "proxy/check.hpp"

#include "proxy/credential.hpp"
#include "proxy/net/task.hpp"
#include "proxy/runtime.hpp"
#include "proxy/upstream/pool.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/write.hpp>

#include <array>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>
#include <string>
#include <unistd.h>

namespace keyhole::proxy {
namespace {

constexpr auto longest_answer = std::chrono::seconds(15);

class report {
public:
    void ok(const std::string& what, const std::string& note = {}) { line("ok  ", what, note); }
    void bad(const std::string& what, const std::string& why)
    {
        line("FAIL", what, why);
        failed_ = true;
    }
    bool failed() const noexcept { return failed_; }

private:
    static void line(const char* verdict, const std::string& what, const std::string& note)
    {
        std::printf("%s  %s%s%s\n", verdict, what.c_str(), note.empty() ? "" : ": ", note.c_str());
    }
    bool failed_ = false;
};

/// The directory itself, or the nearest parent that exists, must be writable.
void check_directory(report& out, const std::string& label, std::string path)
{
    namespace fs = std::filesystem;
    std::error_code ec;
    fs::path at = path;
    while (!at.empty() && !fs::exists(at, ec) && at != at.parent_path())
        at = at.parent_path();
    if (!fs::is_directory(at, ec)) return out.bad(label, path + " (" + at.string() + " is not a directory)");
    if (::access(at.c_str(), W_OK | X_OK) != 0)
        return out.bad(label, path + " (no write permission in " + at.string() + ")");
    out.ok(label, path);
}

/// A socket's own place: nothing there, or a socket (a living one means that a keyhole runs already).
void check_socket(report& out, const std::string& label, const std::string& path)
{
    std::error_code ec;
    const auto there = std::filesystem::symlink_status(path, ec);
    if (std::filesystem::exists(there) && !std::filesystem::is_socket(there))
        return out.bad(label, path + " (exists and is not a socket: move it away, or choose another path)");
    check_directory(out, label, std::filesystem::path(path).parent_path().string());
}

std::string shown(double seconds)
{
    std::array<char, 32> text{};
    const int n = std::snprintf(text.data(), text.size(), "%g", seconds);
    return {text.data(), static_cast<std::size_t>(n)};
}

/// A GET that costs nothing and needs a key, where the API is known to have one.
std::string free_request(const config::provider& p)
{
    using config::credential_style;
    using config::dialect;
    if (p.credential == credential_style::none) return {};
    if (p.api == dialect::openai || p.api == dialect::anthropic) return p.base_path + "/models";
    if (p.api == dialect::gemini && p.credential == credential_style::x_goog_api_key)
        return p.base_path + "/models";
    return {};
}

/// The status of that request with this key; 0: no answer.
task<int> status_with(upstream::link& on, const std::string& target, const config::secret& key)
{
    std::string head = "GET " + target + " HTTP/1.1\r\n";
    head.reserve(head.size() + key.size() + 512);  // never grown: no copy of the key is left behind
    append_field(head, "host", on.to().host_header);
    append_field(head, "user-agent", std::string("keyhole/") + KEYHOLE_VERSION);
    append_field(head, "accept-encoding", "identity");
    append_field(head, "connection", "close");
    if (on.to().provider.api == config::dialect::anthropic)
        append_field(head, "anthropic-version", "2023-06-01");
    append_credential(head, on.to().provider.credential, key);
    head += "\r\n";
    const auto out = asio::buffer(head);
    const auto [unsent, sent] = co_await asio::async_write(on, out, as_result);
    config::wipe(head.data(), head.size());
    std::string answer;
    error_code ec = unsent;
    constexpr std::size_t status_end = std::string_view("HTTP/1.1 200").size();
    while (!ec && answer.size() < status_end) {
        std::array<char, 256> some{};
        const auto into = asio::buffer(some);
        const auto [failed, n] = co_await on.async_read_some(into, as_result);
        ec = failed;
        answer.append(some.data(), n);
    }
    int status = 0;
    if (answer.size() >= status_end && answer.starts_with("HTTP/1."))
        std::from_chars(answer.data() + status_end - 3, answer.data() + status_end, status);
    co_return status;
}

task<> probe(upstream::pool& pool, upstream::endpoint_ptr to, report& out)
{
    const std::string what = "provider " + to->provider.name + " (" + to->host_header + ')';
    const std::string target = free_request(to->provider);
    const std::size_t times = target.empty() ? 1 : to->provider.keys.size();
    for (std::size_t i = 0; i < times; ++i) {
        const auto being_made = std::make_shared<upstream::attempt>();
        const auto late = std::make_shared<bool>(false);
        timer limit(co_await asio::this_coro::executor);
        limit.expires_after(seconds_of(to->provider.connect_timeout));
        limit.async_wait([being_made, late](error_code ec) {
            if (ec) return;
            *late = true;
            being_made->give_up();
        });
        auto made = co_await pool.connect(to, being_made.get());
        if (made.error) {
            limit.cancel();
            out.bad(what, *late ? "no connection within connect_timeout (" +
                                      shown(to->provider.connect_timeout) + " s); it waited for " +
                                      std::string(made.error.step)
                                : made.error.detail);
            co_return;
        }
        if (i == 0)
            out.ok(what, to->provider.tls ? "reachable, certificate verified" : "reachable, without TLS");
        limit.cancel();
        if (target.empty()) co_return;
        limit.expires_after(longest_answer);
        auto* line = made.connection.get();
        limit.async_wait([line](error_code ec) {
            if (!ec) line->close();
        });
        const int status = co_await status_with(*line, target, *to->provider.keys[i]);
        limit.cancel();
        const std::string key = "key " + std::to_string(i + 1) + " of " + to->provider.name;
        if (status == 401 || status == 403)
            out.bad(key, "the provider refuses it (" + std::to_string(status) + " to GET " + target +
                             "): put a valid one where it is read from");
        else if (status >= 200 && status < 300)
            out.ok(key, "accepted");
        else
            out.ok(key, "not judged: GET " + target +
                            (status == 0 ? " had no answer" : " was answered " + std::to_string(status)));
    }
}

}  // namespace

int check(const config::settings& settings, bool offline)
{
    report out;
    out.ok("configuration");
    for (const auto& note : settings.notes)
        std::printf("note  %s\n", note.c_str());
    check_directory(out, "state", settings.store.directory);
    for (const auto& s : settings.agents.sockets)
        check_socket(out, "agent socket", s);
    check_socket(out, "admin socket", settings.admin.socket);
    try {
        const auto rt = make_runtime(settings);
        out.ok("prices",
               std::to_string(rt->prices->size()) + " models, version " + std::string(rt->prices->version()));
        for (const auto& e : rt->endpoints)
            out.ok("key of " + e->provider.name, std::to_string(e->provider.keys.size()) + " configured");
        if (!offline) {
            asio::io_context io{1};
            upstream::pool pool(io);
            for (const auto& e : rt->endpoints)
                asio::co_spawn(io.get_executor(), probe(pool, e, out), asio::detached);
            io.run();
        }
    } catch (const std::exception& e) {
        out.bad("set-up", e.what());
    }
    return out.failed() ? 1 : 0;
}

}  // namespace keyhole::proxy
