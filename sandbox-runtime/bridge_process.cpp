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
#include <sys/wait.h>
#include <unistd.h>

namespace keyhole::runtime {
namespace {

constexpr int ready_limit_ms = 10'000;
constexpr int last_delay_ms = 1000;
constexpr std::int64_t healthy_ms = 10'000;

// A socket that only its group may use: the bridge joins that group, the agent does not.
std::vector<std::uint32_t> groups_for(const std::string& socket)
{
    struct stat info{};
    if (::stat(socket.c_str(), &info) != 0) return {};
    const bool by_group = (info.st_mode & S_IWGRP) != 0 && (info.st_mode & S_IWOTH) == 0 && info.st_gid != 0;
    return by_group ? std::vector<std::uint32_t>{info.st_gid} : std::vector<std::uint32_t>{};
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
    return bridge::listen_on_loopback(settings_.port, listeners_, error) ? 0 : sys::exit_unavailable;
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
    if (!token_.empty()) {
        // 512 bytes fit into any pipe: this does not block.
        if (::pipe2(token_pipe, O_CLOEXEC) != 0 ||
            ::write(token_pipe[1], token_.view().data(), token_.view().size()) !=
                static_cast<ssize_t>(token_.view().size()))
        {
            error = std::string("cannot pass the token: ") + std::strerror(errno);
            return false;
        }
        ::close(token_pipe[1]);
    }
    const sys::unique_fd token_read(token_pipe[0]);

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
    if (pid_ > 0) return true;

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
    ::execve(settings_.bridge_program.c_str(), argv.data(), no_environment);
    fail(settings_.bridge_program, sys::exit_not_found);
}

void bridge_process::exited(int wait_status)
{
    pid_ = -1;
    if (!wanted_) return;
    const std::int64_t now = sys::now_ms();
    // At once after a healthy life; a bridge that cannot run is not a busy loop.
    if (now - started_ms_ > healthy_ms) delay_ms_ = 0;
    start_again_ms_ = now + delay_ms_;
    delay_ms_ = std::clamp(delay_ms_ * 2, 10, last_delay_ms);
    sys::say({"the bridge ended (", WIFSIGNALED(wait_status) ? "signal " : "exit code ",
              sys::decimal(WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : WEXITSTATUS(wait_status)),
              "), starting it again"});
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
    start_again_ms_ = sys::now_ms() + last_delay_ms;
}

}  // namespace keyhole::runtime
