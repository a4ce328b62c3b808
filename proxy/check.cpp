#include "proxy/check.hpp"

#include "proxy/runtime.hpp"
#include "proxy/upstream/pool.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>
#include <string>
#include <unistd.h>

namespace keyhole::proxy {
namespace {

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

task<> probe(upstream::pool& pool, upstream::endpoint_ptr to, report& out)
{
    const auto being_made = std::make_shared<upstream::attempt>();
    timer limit(co_await asio::this_coro::executor);
    limit.expires_after(seconds_of(to->provider.connect_timeout));
    limit.async_wait([being_made](error_code ec) {
        if (!ec) being_made->give_up();
    });
    auto made = co_await pool.connect(to, being_made.get());
    limit.cancel();
    const std::string what = "provider " + to->provider.name + " (" + to->host_header + ')';
    if (made.error)
        out.bad(what, made.error.detail);
    else
        out.ok(what, to->provider.tls ? "reachable, certificate verified" : "reachable, without TLS");
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
