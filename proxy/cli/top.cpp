// keyhole top: what happens now. Everything shown is a difference or a state of what the admin API tells.
#include "metering/budget.hpp"
#include "proxy/cli/admin_client.hpp"
#include "proxy/cli/commands.hpp"
#include "proxy/cli/shown.hpp"
#include "proxy/cli/table.hpp"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <sys/ioctl.h>
#include <unistd.h>
#include <vector>

namespace keyhole::proxy::cli {
namespace {

using nlohmann::json;

struct top_options : common_options {
    double interval = 2;
    unsigned count = 0;
};

struct used {
    std::int64_t requests = 0;
    std::int64_t tokens = 0;
    std::int64_t nano_usd = 0;
};

struct snapshot {
    std::int64_t at_us = 0;
    json status;
    json sessions;
    std::map<std::string, used> by_session;  ///< today
    used total;
};

snapshot take(const admin_client& client)
{
    snapshot s;
    s.status = client.get("/admin/v1/status");
    s.at_us = number_of(s.status, "now_us");
    s.sessions = client.get("/admin/v1/sessions");
    const std::int64_t midnight = metering::window_start(metering::limit_window::day, s.at_us);
    const json groups =
        client.get("/admin/v1/usage?by=session&limit=100000&since=" + std::to_string(midnight));
    for (const auto& g : groups) {
        const used u{number_of(g, "requests"), number_of(g, "total_tokens"), number_of(g, "cost_nano_usd")};
        s.by_session[text_of(g, "group")] = u;
        s.total.requests += u.requests;
        s.total.tokens += u.tokens;
        s.total.nano_usd += u.nano_usd;
    }
    return s;
}

used of_session(const snapshot& s, const std::string& id)
{
    const auto at = s.by_session.find(id);
    return at == s.by_session.end() ? used{} : at->second;
}

/// Tokens a second since the last look; nothing yet at the first.
std::string rate(std::int64_t now, std::int64_t before, std::int64_t elapsed_us)
{
    if (elapsed_us <= 0 || now < before) return "-";
    return grouped((now - before) * 1'000'000 / elapsed_us);
}

/// The limit that will end first, and what is left of it.
std::string tightest(const json& limits)
{
    std::string found;
    double least = 2;
    for (const auto& l : limits) {
        const auto number = [&](const char* member) {
            return std::strtod(text_of(l, member).c_str(), nullptr);
        };
        const double all = number("used") + number("reserved") + number("remaining");
        const double left = all > 0 ? number("remaining") / all : 0;
        if (left >= least) continue;
        least = left;
        const std::string name = text_of(l, "limit");
        found = text_of(l, "remaining") + " of " + name;
    }
    return found.empty() ? "no limit" : found;
}

std::string screen(const snapshot& now, const std::optional<snapshot>& before, std::size_t lines)
{
    const std::int64_t elapsed = before ? now.at_us - before->at_us : 0;
    const json& ledger = now.status.at("ledger");
    std::string out =
        "keyhole " + text_of(now.status, "version") + "  " + shown_time(now.at_us) + " UTC  " +
        (now.status.value("ready", false) ? "ready" : "not ready: " + text_of(now.status, "reason")) + '\n';
    out += grouped(number_of(now.status, "sessions")) + " sessions, " +
           grouped(number_of(now.status, "agent_connections")) + " connections, " +
           grouped(number_of(now.status, "in_flight")) + " in flight, " +
           (before ? rate(now.total.tokens, before->total.tokens, elapsed) : "-") + " tokens/s; today " +
           grouped(now.total.requests) + " requests, " + grouped(now.total.tokens) + " tokens, " +
           metering::format_usd(now.total.nano_usd) + " USD\n";
    if (ledger.value("failing", false)) out += "ledger: " + text_of(ledger, "last_error") + '\n';
    out += '\n';

    std::vector<json> sessions(now.sessions.begin(), now.sessions.end());
    std::ranges::stable_sort(sessions, [&](const json& a, const json& b) {
        const auto weight = [&](const json& s) {
            return std::pair(number_of(s, "in_flight"), of_session(now, text_of(s, "id")).nano_usd);
        };
        return weight(a) > weight(b);
    });
    table t({"SESSION", "NAME", "SANDBOX", ">IN FLIGHT", ">TOKENS/S", ">TODAY", ">USD TODAY", "LEFT"});
    for (const auto& s : sessions) {
        if (lines == 1) break;
        if (lines != 0) --lines;
        const std::string id = text_of(s, "id");
        const used u = of_session(now, id);
        t.add({id, text_of(s, "name"), text_of(s, "sandbox"), text_of(s, "in_flight"),
               before ? rate(u.tokens, of_session(*before, id).tokens, elapsed) : "-", grouped(u.requests),
               metering::format_usd(u.nano_usd), tightest(s.at("limits"))});
    }
    return out + t.text();
}

/// Until the interval is over or a signal comes.
void pause_for(double seconds)
{
    timespec left{};
    left.tv_sec = static_cast<std::time_t>(seconds);
    left.tv_nsec = static_cast<long>((seconds - static_cast<double>(left.tv_sec)) * 1e9);
    ::nanosleep(&left, nullptr);
}

void top(const top_options& o)
{
    const admin_client client(o.admin);
    const bool terminal = ::isatty(STDOUT_FILENO) == 1;
    std::optional<snapshot> before;
    for (unsigned turn = 0; o.count == 0 || turn < o.count; ++turn) {
        if (turn != 0) pause_for(o.interval);
        snapshot now = take(client);
        if (o.as_json)
            print(json{{"status", now.status}, {"sessions", now.sessions}}.dump() + '\n');
        else {
            winsize size{};
            const bool sized = terminal && ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 6;
            const std::string text = screen(now, before, sized ? size.ws_row - 5U : 0U);
            print(terminal ? "\033[H\033[2J" + text : text + '\n');
        }
        std::fflush(stdout);
        before = std::move(now);
    }
}

}  // namespace

void add_top_command(CLI::App& app, int& exit_code)
{
    auto o = std::make_shared<top_options>();
    CLI::App* c =
        app.add_subcommand("top", "Live: sessions, requests in flight, tokens a second, what is left");
    add_common(*c, *o);
    c->add_option("--interval", o->interval, "Seconds between two looks")
        ->check(CLI::Range(0.1, 3600.0))
        ->capture_default_str();
    c->add_option("--count", o->count, "Looks, then end (0: until interrupted)")->capture_default_str();
    c->callback([o, &exit_code] { report(exit_code, [&] { top(*o); }); });
}

}  // namespace keyhole::proxy::cli
