#include "sandbox-runtime/agent_process.hpp"

#include "bridge/system.hpp"
#include "sandbox-runtime/agent_filter.hpp"
#include "sandbox-runtime/privileges.hpp"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace keyhole::runtime {
namespace {

enum class failed_step : char { identity, filter, workdir, exec };

// What the child tells through a pipe that a successful exec closes.
struct failure {
    failed_step step{};
    int error = 0;
    char what[64] = {};
};

[[noreturn]] void report(int fd, failed_step step, const char* what)
{
    failure f;
    f.step = step;
    f.error = errno;
    std::strncpy(f.what, what, sizeof f.what - 1);
    [[maybe_unused]] const auto n = ::write(fd, &f, sizeof f);
    ::_exit(sys::exit_not_found);
}

void reset_signals() noexcept
{
    struct sigaction usual{};
    usual.sa_handler = SIG_DFL;
    for (int signal = 1; signal < NSIG; ++signal)
        ::sigaction(signal, &usual, nullptr);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

// Looks along the PATH as execvp() does, but never hands a file that the kernel cannot run to a shell.
// Returns with errno: what kept the first that is there from running, else that there is none.
void execute(char** argv, char** envp, std::string_view path)
{
    const std::string name = argv[0];
    if (name.find('/') != std::string::npos || name.empty()) {
        ::execve(name.c_str(), argv, envp);
        if (name.empty()) errno = ENOENT;
        return;
    }
    int refused = 0;
    for (bool more = true; more;) {
        const std::size_t end = path.find(':');
        more = end != std::string_view::npos;
        const std::string_view directory = path.substr(0, end);
        path.remove_prefix(more ? end + 1 : path.size());
        const std::string file = directory.empty() ? name : std::string(directory) + "/" + name;
        ::execve(file.c_str(), argv, envp);
        if (errno == EACCES)
            refused = errno;
        else if (errno != ENOENT && errno != ENOTDIR && errno != ENAMETOOLONG && errno != ELOOP)
            return;
    }
    errno = refused != 0 ? refused : ENOENT;
}

[[noreturn]] void become_agent(const settings& s, environment& env, const terminal& tty, int report_fd)
{
    if (s.new_session) {
        // Fails where the terminal is the session's of somebody else: then there is none to control.
        ::setsid();
        ::ioctl(STDIN_FILENO, TIOCSCTTY, 0);
    } else {
        ::setpgid(0, 0);
        tty.give_to(::getpid());
    }
    const identity who{s.agent.uid, s.agent.gid, {}, !s.single_uid};
    if (const char* step = drop_to(who); step != nullptr) report(report_fd, failed_step::identity, step);
    if (const char* claim = verify_dropped(who); claim != nullptr)
        report(report_fd, failed_step::identity, claim);
    if (s.filter && install_agent_filter() == filter_result::failed)
        report(report_fd, failed_step::filter, "");
    // As the agent, not as root: whether it may go there is its permission's business.
    if (::chdir(s.workdir.c_str()) != 0) {
        if (s.workdir_was_named) report(report_fd, failed_step::workdir, "");
        const std::string reason = std::strerror(errno);
        const std::string home(env.get("HOME"));
        const bool at_home = !home.empty() && ::chdir(home.c_str()) == 0;
        if (!at_home) [[maybe_unused]]
            const int root = ::chdir("/");
        if (s.workdir_was_given)
            sys::say({"the working directory ", s.workdir, " cannot be entered by uid ",
                      sys::decimal(s.agent.uid), " (", reason, "): the agent starts in ",
                      at_home ? home : "/"});
    }
    char here[4096];
    if (::getcwd(here, sizeof here) != nullptr) env.set("PWD", here);
    std::vector<std::string> words = s.command;
    std::vector<char*> argv;
    argv.reserve(words.size() + 1);
    for (std::string& word : words)
        argv.push_back(word.data());
    argv.push_back(nullptr);
    std::vector<char*> envp = env.pointers();
    reset_signals();
    constexpr int report_place = STDERR_FILENO + 1;
    if (report_fd != report_place) ::dup3(report_fd, report_place, O_CLOEXEC);
    sys::close_from(report_place + 1);
    execute(argv.data(), envp.data(), env.get("PATH"));
    report(report_place, failed_step::exec, "");
}

agent_start describe(const failure& f, const settings& s)
{
    const std::string reason = std::strerror(f.error);
    switch (f.step) {
    case failed_step::identity:
        return {-1, sys::exit_no_permission,
                std::string("cannot give up root (") + f.what + ": " + reason +
                    "); add --cap-add SETUID --cap-add SETGID --cap-add KILL, or start the container with "
                    "--user 1000:1000"};
    case failed_step::filter:
        return {-1, sys::exit_os_error,
                "the system call filter cannot be installed: " + reason +
                    "; KEYHOLE_SECCOMP=off does without it, where the engine has one"};
    case failed_step::workdir:
        return {-1, sys::exit_configuration,
                "AGENT_WORKDIR " + s.workdir + ": " + reason + "; mount it so that uid " +
                    std::to_string(s.agent.uid) + " can enter it"};
    case failed_step::exec:
        break;
    }
    if (f.error == ENOENT)
        return {-1, sys::exit_not_found,
                s.command.front() + ": not found; is it installed in this image, or on the PATH?" +
                    (s.command.front().find(' ') == std::string::npos
                         ? ""
                         : " A line for a shell needs one: sh -c '…'")};
    const char* remedy =
        f.error == ENOEXEC
            ? "; it is no program for this machine, or a script without a first line like #!/bin/sh (nothing "
              "is handed to a shell: name one, sh FILE)"
            : "";
    return {-1, sys::exit_cannot_execute, s.command.front() + ": cannot be executed: " + reason + remedy};
}

}  // namespace

terminal::terminal() noexcept
{
    if (::isatty(STDIN_FILENO) == 1 && ::tcgetpgrp(STDIN_FILENO) == ::getpgrp()) own_group_ = ::getpgrp();
}

// SIGTTOU is blocked in both callers, so a background process may do this.
void terminal::give_to(pid_t group) const noexcept
{
    if (own_group_ >= 0) ::tcsetpgrp(STDIN_FILENO, group);
}

void terminal::take_back() const noexcept
{
    give_to(own_group_);
}

// The kernel tells the terminal's foreground, which is this process, that the line was lost; nobody else is
// to hear of it.
void terminal::let_go() noexcept
{
    if (own_group_ < 0) return;
    own_group_ = -1;
    if (::ioctl(STDIN_FILENO, TIOCNOTTY) != 0) return;
    sigset_t lost;
    ::sigemptyset(&lost);
    ::sigaddset(&lost, SIGHUP);
    ::sigaddset(&lost, SIGCONT);
    const timespec now{};
    while (::sigtimedwait(&lost, nullptr, &now) > 0) {
    }
}

agent_start start_agent(const settings& s, environment& env, const terminal& tty)
{
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0)
        return {-1, sys::exit_os_error, std::string("no pipe: ") + std::strerror(errno)};
    const sys::unique_fd from_child(ends[0]);
    sys::unique_fd to_parent(ends[1]);
    const pid_t pid = ::fork();
    if (pid < 0) return {-1, sys::exit_os_error, std::string("cannot fork: ") + std::strerror(errno)};
    if (pid == 0) become_agent(s, env, tty, to_parent.get());
    to_parent.reset();
    if (!s.new_session) ::setpgid(pid, pid);
    failure f;
    ssize_t n = 0;
    do {
        n = ::read(from_child.get(), &f, sizeof f);
    } while (n < 0 && errno == EINTR);
    if (n == 0) return {pid, 0, {}};
    ::waitpid(pid, nullptr, 0);
    tty.take_back();
    return describe(f, s);
}

}  // namespace keyhole::runtime
