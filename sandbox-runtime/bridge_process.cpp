#include "sandbox-runtime/bridge_process.hpp"

#include "bridge/listen.hpp"
#include "sandbox-runtime/privileges.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace keyhole::runtime {
namespace {

constexpr int ready_limit_ms = 10'000;
constexpr int exec_limit_ms = 2000;
constexpr int last_delay_ms = 1000;
constexpr std::int64_t healthy_ms = 10'000;
const std::string own_program = "/proc/self/exe";

// A socket, or a directory on the way to it, that only its group may use: the bridge joins that group, the
// agent does not.
std::vector<std::uint32_t> groups_for(const std::string& socket)
{
    std::vector<std::uint32_t> groups;
    const auto join = [&groups](const struct stat& info, unsigned for_group, unsigned for_all) {
        const bool by_group =
            (info.st_mode & for_group) != 0 && (info.st_mode & for_all) == 0 && info.st_gid != 0;
        if (by_group && std::find(groups.begin(), groups.end(), info.st_gid) == groups.end())
            groups.push_back(info.st_gid);
    };
    struct stat info{};
    for (std::size_t slash = socket.find('/', 1); slash != std::string::npos;
         slash = socket.find('/', slash + 1))
        if (::stat(socket.substr(0, slash).c_str(), &info) == 0) join(info, S_IXGRP, S_IXOTH);
    if (::stat(socket.c_str(), &info) == 0) join(info, S_IWGRP, S_IWOTH);
    return groups;
}

void keep_over_exec(int fd) noexcept
{
    ::fcntl(fd, F_SETFD, 0);
}

[[noreturn]] void fail(std::string_view step, int code)
{
    sys::complain({"cannot start the bridge: ", step, ": ", std::strerror(errno)});
    ::_exit(code);
}

struct bridge_command {
    std::vector<std::string> words;

    std::vector<char*> pointers()
    {
        std::vector<char*> out;
        out.reserve(words.size() + 1);
        for (std::string& word : words)
            out.push_back(word.data());
        out.push_back(nullptr);
        return out;
    }
    void add(const char* name, std::string value)
    {
        words.emplace_back(name);
        words.push_back(std::move(value));
    }
};

}  // namespace

bool raise_loopback() noexcept
{
    const sys::unique_fd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!any) return false;
    ifreq lo{};
    std::memcpy(lo.ifr_name, "lo", 3);
    if (::ioctl(any.get(), SIOCGIFFLAGS, &lo) != 0) return false;
    if ((lo.ifr_flags & IFF_UP) != 0) return true;
    lo.ifr_flags = static_cast<short>(lo.ifr_flags | IFF_UP);
    return ::ioctl(any.get(), SIOCSIFFLAGS, &lo) == 0;
}

int stop_signal(int signal_fd, int timeout_ms) noexcept
{
    pollfd watched{.fd = signal_fd, .events = POLLIN, .revents = 0};
    signalfd_siginfo info{};
    if (::poll(&watched, 1, timeout_ms) <= 0 ||
        ::read(signal_fd, &info, sizeof info) != static_cast<ssize_t>(sizeof info))
        return 0;
    const auto signal = static_cast<int>(info.ssi_signo);
    const bool means_stop = signal == SIGTERM || signal == SIGINT || signal == SIGHUP || signal == SIGQUIT;
    return means_stop ? signal : 0;
}

int bridge_process::bind(std::string& error)
{
    if (!raise_loopback()) {
        error = "the loopback interface is down and cannot be brought up; start the container with --network "
                "none, which has it up";
        return sys::exit_unavailable;
    }
    const std::string& path = settings_.bridge_is_own_program ? own_program : settings_.bridge_program;
    program_ = sys::unique_fd(::open(path.c_str(), O_PATH | O_CLOEXEC));
    if (!program_ || ::fstat(program_.get(), &program_was_) != 0) {
        error = "there is no bridge program at " + settings_.bridge_program + " (" + std::strerror(errno) +
                "); copy keyhole-bridge into the image beside keyhole-init";
        return sys::exit_unavailable;
    }
    return bridge::listen_on_loopback(settings_.port, listeners_, error) ? 0 : sys::exit_unavailable;
}

// Whoever owns the file could write another program into it, or let himself read it, and then look into the
// process before that can forbid it. Either shows in the time of the last change, which nobody in here can
// set back.
bool bridge_process::was_tampered_with() const noexcept
{
    struct stat now{};
    if (::fstat(program_.get(), &now) != 0) return true;
    const bool agent_may =
        settings_.agent.uid == 0 || now.st_uid == settings_.agent.uid || (now.st_mode & 022) != 0;
    return agent_may && (now.st_ctim.tv_sec != program_was_.st_ctim.tv_sec ||
                         now.st_ctim.tv_nsec != program_was_.st_ctim.tv_nsec);
}

// A refused connection says more than one that nobody accepts.
void bridge_process::give_up() noexcept
{
    listeners_.clear();
    wanted_ = false;
}

bool bridge_process::entrust(int exec_fd, sys::unique_fd token_fd, std::string& error)
{
    // An agent of the same uid may stop the child before its program runs; PID 1 does not wait for ever.
    pollfd executed{.fd = exec_fd, .events = POLLIN, .revents = 0};
    if (::poll(&executed, 1, exec_limit_ms) != 1) {
        ::kill(pid_, SIGKILL);
        error = "its program did not begin";
        return false;
    }
    if (was_tampered_with()) {
        ::kill(pid_, SIGKILL);
        give_up();
        error = settings_.bridge_program +
                " was changed since the start; it gets no token, and there is no bridge any "
                "more";
        return false;
    }
    // 512 bytes fit into any pipe: this does not block.
    if (token_.empty() || ::write(token_fd.get(), token_.view().data(), token_.view().size()) ==
                              static_cast<ssize_t>(token_.view().size()))
        return true;
    ::kill(pid_, SIGKILL);
    error = std::string("cannot pass the token: ") + std::strerror(errno);
    return false;
}

int bridge_process::start(int signal_fd, std::string& error)
{
    int pipe_ends[2];
    if (::pipe2(pipe_ends, O_CLOEXEC) != 0) {
        error = std::string("no pipe: ") + std::strerror(errno);
        return sys::exit_os_error;
    }
    const sys::unique_fd ready_read(pipe_ends[0]);
    sys::unique_fd ready_write(pipe_ends[1]);
    if (!spawn(ready_write.get(), error)) return sys::exit_os_error;
    ready_write.reset();
    wanted_ = true;
    return wait_until_ready(ready_read.get(), signal_fd, error);
}

int bridge_process::wait_until_ready(int ready_fd, int signal_fd, std::string& error)
{
    const std::int64_t until =
        sys::now_ms() + ready_limit_ms + std::int64_t{settings_.proxy_wait_seconds} * 1000;
    for (;;) {
        pollfd watched[] = {{.fd = ready_fd, .events = POLLIN, .revents = 0},
                            {.fd = signal_fd, .events = POLLIN, .revents = 0}};
        const std::int64_t left = until - sys::now_ms();
        const int n = left <= 0 ? 0 : ::poll(watched, 2, static_cast<int>(left));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            error = "the bridge did not become ready in time";
            return sys::exit_unavailable;
        }
        if (watched[0].revents != 0) {
            char byte = 0;
            if (::read(ready_fd, &byte, 1) != 1) {
                error = "the bridge ended before it was ready; its message is above";
                return sys::exit_unavailable;
            }
            if (byte == '+') return 0;
            error = "the proxy does not answer; the bridge's message above says why";
            return sys::exit_no_proxy;
        }
        if (const int signal = stop_signal(signal_fd, 0); signal != 0) {
            error = "stopped before the agent was started";
            return 128 + signal;
        }
    }
}

bool bridge_process::spawn(int ready_fd, std::string& error)
{
    int token_pipe[2] = {-1, -1};
    int exec_pipe[2] = {-1, -1};  // closed by the kernel when the program runs
    if (::pipe2(exec_pipe, O_CLOEXEC) != 0 || (!token_.empty() && ::pipe2(token_pipe, O_CLOEXEC) != 0)) {
        error = std::string("no pipe: ") + std::strerror(errno);
        for (const int fd : exec_pipe)
            if (fd >= 0) ::close(fd);
        return false;
    }
    const sys::unique_fd exec_read(exec_pipe[0]);
    sys::unique_fd exec_write(exec_pipe[1]);
    const sys::unique_fd token_read(token_pipe[0]);
    sys::unique_fd token_write(token_pipe[1]);

    bridge_command command{{"keyhole-bridge"}};
    command.add("--socket", settings_.socket);
    for (const sys::unique_fd& listener : listeners_)
        command.add("--listen-fd", std::to_string(listener.get()));
    if (!settings_.hand_off.empty()) command.add("--hand-off", settings_.hand_off);
    command.add("--connect-wait", std::to_string(settings_.connect_wait_seconds));
    command.add("--max-connections", std::to_string(settings_.max_connections));
    if (token_read) command.add("--token-fd", std::to_string(token_read.get()));
    if (ready_fd >= 0) {
        command.add("--ready-fd", std::to_string(ready_fd));
        command.add("--probe", std::to_string(settings_.proxy_wait_seconds));
    }
    command.add("--parent", std::to_string(::getpid()));
    std::vector<char*> argv = command.pointers();
    identity who{settings_.bridge.uid, settings_.bridge.gid, {}, !settings_.single_uid};
    if (who.change) who.groups = groups_for(settings_.socket);

    started_ms_ = sys::now_ms();
    pid_ = ::fork();
    if (pid_ < 0) {
        error = std::string("cannot fork: ") + std::strerror(errno);
        return false;
    }
    if (pid_ > 0) {
        exec_write.reset();
        return entrust(exec_read.get(), std::move(token_write), error);
    }

    // A session of its own: neither the terminal's signals nor the terminal reach it.
    ::setsid();
    if (::chdir("/") != 0) fail("chdir", sys::exit_os_error);
    const int nothing = ::open("/dev/null", O_RDWR);
    if (nothing < 0) fail("/dev/null", sys::exit_os_error);
    ::dup2(nothing, STDIN_FILENO);
    ::dup2(nothing, STDOUT_FILENO);
    if (nothing > STDERR_FILENO) ::close(nothing);
    if (const char* step = drop_to(who); step != nullptr) fail(step, sys::exit_no_permission);
    if (const char* claim = verify_dropped(who); claim != nullptr) fail(claim, sys::exit_no_permission);
    for (const sys::unique_fd& listener : listeners_)
        keep_over_exec(listener.get());
    for (const int fd : {token_read.get(), ready_fd})
        if (fd >= 0) keep_over_exec(fd);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    char* no_environment[] = {nullptr};
    // By descriptor: by now its name may mean another program, of the agent's.
    ::syscall(SYS_execveat, program_.get(), "", argv.data(), no_environment, AT_EMPTY_PATH);
    // An emulator.
    if (errno == ENOSYS) ::execve(settings_.bridge_program.c_str(), argv.data(), no_environment);
    fail(settings_.bridge_program, sys::exit_not_found);
}

void bridge_process::exited(int wait_status)
{
    pid_ = -1;
    if (!wanted_) return;
    if (settings_.bridge_restart) {
        const std::int64_t now = sys::now_ms();
        // At once after a healthy life; a bridge that cannot run is not a busy loop.
        if (now - started_ms_ > healthy_ms) delay_ms_ = 0;
        start_again_ms_ = now + delay_ms_;
        delay_ms_ = std::clamp(delay_ms_ * 2, 10, last_delay_ms);
    } else {
        give_up();
        lost_ = true;
    }
    sys::say({"the bridge ended (", WIFSIGNALED(wait_status) ? "signal " : "exit code ",
              sys::decimal(WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : WEXITSTATUS(wait_status)),
              lost_ ? "); KEYHOLE_BRIDGE_RESTART=no: the agent is ended" : "), starting it again"});
}

int bridge_process::timeout() const
{
    if (start_again_ms_ < 0) return -1;
    return static_cast<int>(std::clamp<std::int64_t>(start_again_ms_ - sys::now_ms(), 0, last_delay_ms));
}

void bridge_process::on_timer()
{
    if (start_again_ms_ < 0 || sys::now_ms() < start_again_ms_) return;
    start_again_ms_ = -1;
    if (!wanted_) return;
    std::string error;
    if (spawn(-1, error)) return;
    sys::say({"the bridge cannot be started: ", error});
    if (!wanted_) return;
    start_again_ms_ = sys::now_ms() + last_delay_ms;
}

}  // namespace keyhole::runtime
