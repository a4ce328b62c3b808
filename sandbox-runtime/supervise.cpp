#include "sandbox-runtime/supervise.hpp"

#include "sandbox-runtime/privileges.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace keyhole::runtime {
namespace {

constexpr int kill_limit_ms = 1000;

int exit_code_of(int status) noexcept
{
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

struct reaped {
    bool agent_ended = false;
    bool agent_suspended = false;
    int agent_status = 0;
    bool children_left = true;
};

// Ctrl-Z, or a read from a terminal that is somebody else's. Nobody here could bring it back with `fg`.
bool is_job_control(int signal) noexcept
{
    return signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
}

// Everything that has ended, ours or an orphan's.
reaped reap(pid_t agent, bridge_process& bridge)
{
    reaped result;
    for (;;) {
        int status = 0;
        const pid_t pid = ::waitpid(-1, &status, WNOHANG | WUNTRACED);
        if (pid < 0 && errno == EINTR) continue;
        if (pid <= 0) {
            result.children_left = pid == 0;
            return result;
        }
        if (WIFSTOPPED(status)) {
            // Where all share one uid the agent can stop its own bridge; that shall not look like a network
            // that hangs.
            if (pid == bridge.pid()) ::kill(pid, SIGCONT);
            if (pid == agent && is_job_control(WSTOPSIG(status))) result.agent_suspended = true;
            continue;
        }
        if (pid == agent) {
            result.agent_ended = true;
            result.agent_status = status;
        } else if (pid == bridge.pid())
            bridge.exited(status);
    }
}

void forward(pid_t agent, int signal)
{
    // The whole group: an agent is often a shell, and its children are who should hear it.
    if (::kill(-agent, signal) == 0 || errno != EPERM) return;
    sys::say(
        {"cannot pass signal ", sys::decimal(signal), " to the agent: add --cap-add KILL to the container"});
}

// The next of the blocked signals, or 0. It takes no descriptor: a PID 1 that must sleep in poll() would spin
// where somebody took its descriptors away.
int next_signal(int timeout_ms) noexcept
{
    sigset_t all;
    ::sigfillset(&all);
    const timespec limit{.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1'000'000L};
    const int signal = timeout_ms < 0 ? ::sigwaitinfo(&all, nullptr) : ::sigtimedwait(&all, nullptr, &limit);
    return signal > 0 ? signal : 0;
}

int milliseconds_until(std::int64_t time_ms) noexcept
{
    return static_cast<int>(std::clamp<std::int64_t>(time_ms - sys::now_ms(), 0, 1000));
}

// Not PID 1: only our own descendants may be ended. Orphans among them become our children, so this reaches
// all in the end.
void signal_children(int signal)
{
    char path[64];
    std::snprintf(path, sizeof path, "/proc/self/task/%ld/children", ::syscall(SYS_gettid));
    const sys::unique_fd fd(::open(path, O_RDONLY | O_CLOEXEC));
    if (!fd) return;
    char text[8192];
    const ssize_t n = ::read(fd.get(), text, sizeof text);
    std::string_view rest(text, n > 0 ? static_cast<std::size_t>(n) : 0);
    for (std::size_t blank = rest.find(' '); blank != std::string_view::npos; blank = rest.find(' ')) {
        if (const auto pid = sys::parse_number(rest.substr(0, blank), 1U << 30))
            ::kill(static_cast<pid_t>(*pid), signal);
        rest.remove_prefix(blank + 1);
    }
}

// Root without CAP_KILL cannot signal other users. kill(-1) says that all went well even so.
bool may_signal(const settings& s) noexcept
{
    return s.single_uid || has_kill_capability();
}

// False when nothing could be told: then nothing will end because of it.
bool signal_everything(pid_t agent, int signal, const settings& s)
{
    if (!may_signal(s)) return false;
    if (::getpid() == 1) return ::kill(-1, signal) == 0;
    if (agent > 0) ::kill(-agent, signal);
    signal_children(signal);
    return true;
}

bool wait_for_all(pid_t agent, bridge_process& bridge, int limit_ms)
{
    const std::int64_t until = sys::now_ms() + limit_ms;
    for (;;) {
        if (!reap(agent, bridge).children_left) return true;
        const std::int64_t left = until - sys::now_ms();
        if (left <= 0) return false;
        // A second SIGTERM while clearing up: no more patience.
        if (next_signal(static_cast<int>(left)) == SIGTERM) return false;
    }
}

}  // namespace

sys::unique_fd catch_signals() noexcept
{
    sigset_t all;
    ::sigfillset(&all);
    // Faults, too: sent from outside they are the agent's, and one of our own ends us although it is blocked.
    ::sigprocmask(SIG_SETMASK, &all, nullptr);
    // An ignored SIGCHLD, inherited, would let children vanish without a status.
    ::signal(SIGCHLD, SIG_DFL);
    return sys::unique_fd(::signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK));
}

int supervise(pid_t agent, bridge_process& bridge, const terminal& tty, const settings& s)
{
    int code = 0;
    bool was_asked_to_stop = false;
    std::int64_t kill_at_ms = -1;  // for an agent that does not heed that its bridge is lost
    for (bool running = true; running;) {
        const auto signal = static_cast<std::size_t>(
            next_signal(kill_at_ms < 0 ? bridge.timeout() : milliseconds_until(kill_at_ms)));
        if (signal == SIGTERM && std::exchange(was_asked_to_stop, true))
            forward(agent, SIGKILL);
        else if (signal != 0 && signal != SIGCHLD)
            forward(agent, signal < s.signals.size() ? s.signals[signal] : SIGTERM);
        const reaped result = reap(agent, bridge);
        if (result.agent_suspended) {
            tty.give_to(agent);
            forward(agent, SIGCONT);
        }
        if (result.agent_ended) {
            code = exit_code_of(result.agent_status);
            running = false;
            if (bridge.is_lost()) code = sys::exit_unavailable;
        } else if (!bridge.is_lost())
            bridge.on_timer();
        else if (kill_at_ms < 0) {
            kill_at_ms = sys::now_ms() + s.grace_ms;
            forward(agent, s.signals[SIGTERM]);
        } else if (milliseconds_until(kill_at_ms) == 0)
            forward(agent, SIGKILL);
    }
    tty.take_back();
    clear_up(agent, bridge, s, s.grace_ms);
    return code == s.ok_exit ? 0 : code;
}

void clear_up(pid_t agent, bridge_process& bridge, const settings& s, int grace_ms)
{
    bridge.stop_restarting();
    if (!signal_everything(agent, SIGTERM, s)) return;
    if (wait_for_all(agent, bridge, grace_ms)) return;
    const std::int64_t until = sys::now_ms() + kill_limit_ms;
    do {
        signal_everything(agent, SIGKILL, s);
    } while (!wait_for_all(agent, bridge, 50) && sys::now_ms() < until);
}

}  // namespace keyhole::runtime
