// keyhole run [options] -- COMMAND…: one command in a sandbox without a network and without keys, and what it
// cost.
#include "metering/limit.hpp"
#include "proxy/cli/admin_client.hpp"
#include "proxy/cli/child.hpp"
#include "proxy/cli/commands.hpp"
#include "proxy/cli/sandbox_plan.hpp"
#include "proxy/cli/shown.hpp"
#include "proxy/cli/table.hpp"

#include <CLI/CLI.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace keyhole::proxy::cli {
namespace {

using nlohmann::json;

constexpr auto longest_drain = std::chrono::seconds(30);
constexpr auto drain_step = std::chrono::milliseconds(50);

struct run_options : common_options {
    std::string budget, ttl = "24h", account, name, workspace = ".", image, engine, report;
    std::vector<std::string> limits, providers, models, volumes, variables, labels, command;
    bool native = false;
    bool quiet = false;
};

std::string engine_of(const run_options& o)
{
    if (!o.engine.empty()) return o.engine;
    for (const char* known : {"docker", "podman"}) {
        if (is_in_path(known)) return known;
    }
    throw std::runtime_error(
        "--image needs docker or podman, and neither is in PATH; without an image the command runs in Linux "
        "namespaces of this machine");
}

/// keyhole-init and keyhole-bridge: beside this program.
std::string programs_directory()
{
    std::error_code failed;
    const auto self = std::filesystem::read_symlink("/proc/self/exe", failed);
    const auto directory = self.parent_path();
    if (failed || !std::filesystem::exists(directory / "keyhole-init") ||
        !std::filesystem::exists(directory / "keyhole-bridge"))
        throw std::runtime_error("keyhole-init and keyhole-bridge are not beside this program (" +
                                 directory.string() + "); install all three into one directory");
    return directory.string();
}

std::vector<std::string> resolved_variables(const std::vector<std::string>& named)
{
    std::vector<std::string> out;
    for (const auto& v : named) {
        if (v.find('=') != std::string::npos) {
            out.push_back(v);
            continue;
        }
        const char* value = std::getenv(v.c_str());
        if (value == nullptr)
            throw std::runtime_error("--env " + v +
                                     ": it is not set here (NAME passes it on, NAME=VALUE sets it)");
        out.push_back(v + '=' + value);
    }
    return out;
}

/// A file without a name that a program started from here finds open, at its beginning.
class nameless_file {
public:
    explicit nameless_file(std::string_view content) : fd_(::memfd_create("keyhole", 0))
    {
        if (fd_ < 0 || ::write(fd_, content.data(), content.size()) != static_cast<ssize_t>(content.size()) ||
            ::lseek(fd_, 0, SEEK_SET) != 0)
            throw std::runtime_error("no memory for a file of the sandbox");
    }
    ~nameless_file() { ::close(fd_); }
    nameless_file(const nameless_file&) = delete;
    nameless_file& operator=(const nameless_file&) = delete;
    int descriptor() const noexcept { return fd_; }

private:
    int fd_;
};

json session_body(const run_options& o)
{
    std::vector<std::string> limits = o.limits;
    if (!o.budget.empty()) limits.push_back("usd=" + o.budget);
    json body{
        {"own_socket", true}, {"ttl", o.ttl}, {"name", o.name.empty() ? "run " + o.command.front() : o.name}};
    if (!limits.empty()) body["limits"] = limits;
    if (!o.account.empty()) body["account"] = o.account;
    if (!o.providers.empty()) body["providers"] = o.providers;
    if (!o.models.empty()) body["models"] = o.models;
    for (const auto& label : o.labels) {
        const auto equals = label.find('=');
        if (equals == std::string::npos || equals == 0)
            throw CLI::ValidationError("--label", "expects KEY=VALUE");
        body["labels"][label.substr(0, equals)] = label.substr(equals + 1);
    }
    return body;
}

/// The session that a run works with; revoked on every way out.
class run_session {
public:
    run_session(const admin_client& admin, const json& body)
        : admin_(admin), made_(admin_.post("/admin/v1/sessions", body))
    {
    }
    ~run_session()
    {
        try {
            admin_.remove("/admin/v1/sessions/" + id());
        } catch (const std::exception& e) {
            std::fprintf(stderr, "keyhole: the session %s could not be revoked (it ends by itself): %s\n",
                         id().c_str(), e.what());
        }
    }
    run_session(const run_session&) = delete;
    run_session& operator=(const run_session&) = delete;

    std::string id() const { return text_of(made_, "id"); }
    std::string socket_directory() const
    {
        const std::string socket = text_of(made_, "socket");
        if (::access(socket.c_str(), R_OK | W_OK) != 0)
            throw std::runtime_error(
                "the session's socket " + socket +
                " cannot be reached from here: the proxy must run on this machine (not in a container of its "
                "own), "
                "and its agents.socket_mode or agents.socket_group must let this user connect");
        return socket.substr(0, socket.rfind('/'));
    }
    /// Answers whose agent left may still be read on for their usage.
    void wait_for_drains() const
    {
        const auto until = std::chrono::steady_clock::now() + longest_drain;
        while (number_of(admin_.get("/admin/v1/sessions/" + id()), "in_flight") != 0 &&
               std::chrono::steady_clock::now() < until)
            std::this_thread::sleep_for(drain_step);
    }
    json usage() const { return admin_.get("/admin/v1/usage?by=model&session=" + encode(id())); }

private:
    const admin_client& admin_;
    json made_;
};

json report_of(const run_session& s, const run_options& o, const json& models, int status)
{
    std::int64_t requests = 0;
    std::int64_t cost = 0;
    for (const auto& m : models) {
        requests += number_of(m, "requests");
        cost += number_of(m, "cost_nano_usd");
    }
    return json{{"session", s.id()},    {"command", o.command},  {"exit_status", status},
                {"requests", requests}, {"cost_nano_usd", cost}, {"models", models}};
}

void show_summary(const json& report, const run_options& o)
{
    table t({"MODEL", ">REQUESTS", ">INPUT", ">CACHED", ">OUTPUT", ">USD"});
    std::int64_t unpriced = 0;
    std::int64_t estimated = 0;
    for (const auto& m : report.at("models")) {
        t.add({text_of(m, "group"), grouped(number_of(m, "requests")), grouped(number_of(m, "total_input")),
               grouped(number_of(m, "cache_read")), grouped(number_of(m, "total_output")),
               metering::format_usd(number_of(m, "cost_nano_usd"))});
        unpriced += number_of(m, "unpriced_requests");
        estimated += number_of(m, "estimated_requests");
    }
    std::string text = "keyhole: " + grouped(number_of(report, "requests")) +
                       (number_of(report, "requests") == 1 ? " request, " : " requests, ") +
                       metering::format_usd(number_of(report, "cost_nano_usd")) + " USD" +
                       (o.budget.empty() ? "" : " of " + o.budget);
    if (unpriced != 0) text += ", " + grouped(unpriced) + " without a price";
    if (estimated != 0) text += ", " + grouped(estimated) + " estimated";
    text += "  (keyhole usage requests --session " + text_of(report, "session") + ")\n";
    if (!t.empty()) text += t.text();
    std::fputs(text.c_str(), stderr);
}

void run(const run_options& o, int& exit_code)
{
    if (o.native && !o.image.empty()) throw CLI::ValidationError("--native", "excludes --image");
    sandbox_wish wish;
    wish.command = o.command;
    wish.volumes = o.volumes;
    wish.variables = resolved_variables(o.variables);
    wish.image = o.image;
    if (!o.image.empty()) wish.engine = engine_of(o);
    const std::string programs = o.image.empty() ? programs_directory() : std::string();
    if (o.image.empty() && !is_in_path("bwrap"))
        throw std::runtime_error("Linux namespaces are set up by bubblewrap, which is not installed (apt-get "
                                 "install bubblewrap); or name an "
                                 "image: --image keyhole-sandbox");
    wish.terminal = ::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1;
    if (wish.engine.empty()) wish.terminal = wish.terminal && terminal_is_safe();
    wish.workspace = checked_workspace(o.workspace, {o.admin, "/etc", "/var/lib/keyhole", "/run"});

    const admin_client admin(o.admin);
    const run_session session(admin, session_body(o));
    wish.socket_directory = session.socket_directory();
    const nameless_file passwd(agent_passwd);
    const nameless_file group(agent_group);
    wish.passwd = passwd.descriptor();
    wish.group = group.descriptor();
    const sandbox_plan plan = wish.engine.empty() ? plan_namespaces(wish, programs) : plan_container(wish);
    exit_code = run_child(plan.arguments, plan.environment);

    session.wait_for_drains();
    const json report = report_of(session, o, session.usage(), exit_code);
    if (!o.report.empty() && !(std::ofstream(o.report) << report.dump(2) << '\n'))
        throw std::runtime_error("--report " + o.report + " could not be written");
    if (!o.quiet) show_summary(report, o);
}

}  // namespace

void add_run_command(CLI::App& app, int& exit_code)
{
    auto* c = app.add_subcommand(
        "run", "One command in a sandbox without a network and without keys; says what it used and cost");
    auto o = std::make_shared<run_options>();
    const char* named = std::getenv("KEYHOLE_ADMIN_SOCKET");
    o->admin = named != nullptr && *named != '\0' ? named : default_admin_socket;
    c->add_option("--admin", o->admin, "The proxy's admin socket (else $KEYHOLE_ADMIN_SOCKET)")
        ->capture_default_str();
    const auto list = [&](const char* name, std::vector<std::string>& into, const char* help) {
        c->add_option(name, into, help)->take_all()->allow_extra_args(false);
    };
    c->add_option("--budget", o->budget, "USD that it may cost, e.g. 2.00");
    list("--limit", o->limits,
         "Another limit, e.g. requests/minute=60 (as for keyhole session create); repeatable");
    c->add_option("--image", o->image,
                  "A container image with keyhole-init as its entry point, e.g. keyhole-sandbox");
    c->add_flag("--native", o->native,
                "Linux namespaces on this machine's own /usr (what happens without --image)");
    c->add_option("--engine", o->engine, "docker or podman (default: the one that is there)")
        ->check(CLI::IsMember({"docker", "podman"}));
    c->add_option("--workspace", o->workspace, "The agent's working directory, which it may change")
        ->capture_default_str();
    list("--volume", o->volumes, "SOURCE:TARGET[:ro]: another file or directory for the agent; repeatable");
    list("--env", o->variables,
         "NAME (as it is here) or NAME=VALUE for the agent; nothing else of this environment is passed on; "
         "repeatable");
    list("--provider", o->providers, "Only this provider; repeatable");
    list("--model", o->models, "Only models of this pattern, e.g. 'claude-*'; repeatable");
    c->add_option("--account", o->account, "Parent account, whose limits hold as well");
    c->add_option("--name", o->name, "The session's name (default: the command)");
    list("--label", o->labels, "KEY=VALUE, e.g. run=42; repeatable");
    c->add_option("--ttl", o->ttl, "When the session ends even if this program is killed")
        ->capture_default_str();
    c->add_option("--report", o->report, "Also write what was used to this file, as JSON");
    c->add_flag("--quiet", o->quiet, "No summary on standard error");
    c->add_option("command", o->command, "The command and its arguments, behind --")->required();
    c->positionals_at_end();
    c->footer("Example: keyhole run --budget 2.00 -- claude -p 'fix the tests'");
    c->callback([o, &exit_code] { report(exit_code, [&] { run(*o, exit_code); }); });
}

}  // namespace keyhole::proxy::cli
