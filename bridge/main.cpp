// keyhole-bridge: from loopback TCP to the proxy's unix socket. See docs/sandbox.md.
#include "bridge/confine.hpp"
#include "bridge/file_access.hpp"
#include "bridge/options.hpp"
#include "bridge/preface.hpp"
#include "bridge/relay.hpp"
#include "bridge/upstream.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace keyhole;

namespace {

// The parent may have died before we asked to be told.
bool follow_parent(int parent)
{
    if (parent == 0) return true;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    return ::getppid() == parent;
}

void close_all_but(const bridge::options& settings)
{
    std::vector<int> kept = settings.listen_fds;
    for (const int fd : {settings.token_fd, settings.ready_fd})
        if (fd >= 0) kept.push_back(fd);
    std::sort(kept.begin(), kept.end());
    int first = STDERR_FILENO + 1;
    for (const int fd : kept) {
        if (fd < first) continue;
        sys::close_between(first, fd - 1);
        first = fd + 1;
    }
    sys::close_from(first);
}

bool take_token(int fd, sys::locked_bytes& preface, sys::locked_bytes& greeting)
{
    const sys::unique_fd source(fd);
    sys::locked_bytes token;
    if (!token.read_from(source.get())) {
        sys::complain({"cannot read a token from descriptor ", sys::decimal(fd)});
        return false;
    }
    token.trim_line_end();
    if (bridge::write_preface(token.view(), preface) && bridge::write_greeting(token.view(), greeting))
        return true;
    sys::complain({"the session token is not one: 8 to 512 visible ASCII characters are expected; "
                   "create one with 'keyhole session create'"});
    return false;
}

bool take_listeners(const bridge::options& settings, std::vector<sys::unique_fd>& out)
{
    for (const int fd : settings.listen_fds) {
        int listening = 0;
        socklen_t size = sizeof listening;
        if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 || listening == 0) {
            sys::complain({"descriptor ", sys::decimal(fd), " is not a listening socket"});
            return false;
        }
        ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
        out.emplace_back(fd);
    }
    for (const bridge::listen_address& address : settings.listen) {
        sys::unique_fd fd = bridge::listen_on(address);
        // ::1 of a bare port is a bonus: without a network it is often off.
        if (!fd && address.host == "::1" && !out.empty()) continue;
        if (!fd) {
            sys::complain({"cannot listen on ", address.host, " port ", sys::decimal(address.port), ": ",
                           std::strerror(errno),
                           errno == EADDRINUSE
                               ? "; another program has the port: choose one with LLM_PROXY_PORT"
                               : ""});
            return false;
        }
        out.push_back(std::move(fd));
    }
    return true;
}

// True when the proxy answered within the time.
bool probe(const bridge::options& settings)
{
    const std::int64_t until = sys::now_ms() + std::int64_t{settings.probe_seconds} * 1000;
    for (;;) {
        if (bridge::connect_upstream(settings.socket)) return true;
        const int error = errno;
        if (!bridge::is_worth_waiting(error) || sys::now_ms() >= until) {
            const bridge::upstream_problem problem = bridge::explain_upstream(settings.socket, error);
            sys::complain({problem.cause, "; ", problem.remedy});
            return false;
        }
        constexpr timespec pause{.tv_sec = 0, .tv_nsec = 20'000'000};
        ::nanosleep(&pause, nullptr);
    }
}

}  // namespace

int main(int argc, char** argv, char** envp)
{
    sys::become_unreadable();
    sys::forbid_new_privileges();
    sys::set_program_name("keyhole-bridge");
    sys::ensure_standard_descriptors();

    bridge::options settings;
    std::string error;
    const bridge::parse_result parsed = bridge::parse_options(argc, argv, envp, settings, error);
    sys::wipe_environment(envp);
    if (parsed == bridge::parse_result::help) {
        sys::write_all(STDOUT_FILENO, bridge::help_text);
        return sys::exit_ok;
    }
    if (parsed == bridge::parse_result::version) {
        sys::write_all(STDOUT_FILENO, "keyhole-bridge " KEYHOLE_VERSION "\n");
        return sys::exit_ok;
    }
    if (parsed == bridge::parse_result::wrong) {
        sys::complain({error});
        return sys::exit_usage;
    }
    if (!follow_parent(settings.parent)) return sys::exit_ok;
    close_all_but(settings);

    sys::locked_bytes preface;
    sys::locked_bytes greeting;
    if (settings.token_fd < 0 && !bridge::write_greeting({}, greeting)) settings.hand_off = false;
    if (settings.token_fd >= 0 && !take_token(settings.token_fd, preface, greeting))
        return sys::exit_configuration;
    std::vector<sys::unique_fd> listeners;
    if (!take_listeners(settings, listeners)) return sys::exit_unavailable;

    bridge::relay relay(settings, std::move(listeners), preface.view(), greeting.view());
    if (!relay.open()) {
        sys::complain({"cannot set up epoll: ", std::strerror(errno)});
        return sys::exit_os_error;
    }
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // whose runtimes need more
    sys::forbid_files();  // where the kernel can: the filter below forbids what matters most
    sys::allow_only_serving();
#endif
    const bool proxy_answers = settings.probe_seconds < 0 || probe(settings);
    if (settings.ready_fd >= 0) {
        const sys::unique_fd ready(settings.ready_fd);
        sys::write_byte(ready.get(), proxy_answers ? '+' : '-');
    }
    return relay.run();
}
