#include "bridge/system.hpp"
#include "sandbox-runtime/doctor/looks.hpp"
#include "sandbox-runtime/environment.hpp"
#include "sandbox-runtime/provider_keys.hpp"

#include <array>
#include <csignal>
#include <dirent.h>
#include <fcntl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

namespace keyhole::runtime::doctor {
namespace {

struct process {
    std::string pid;
    std::string name;

    std::string path(const char* entry) const { return "/proc/" + pid + "/" + entry; }
    std::string called() const { return "process " + pid + " (" + name + ")"; }
    bool is_ours() const { return pid == "1" || name.starts_with("keyhole-"); }
};

std::vector<process> others()
{
    std::vector<process> out;
    for (std::string& pid : names_in("/proc")) {
        if (!sys::parse_number(pid, 1U << 30) || pid == std::to_string(::getpid())) continue;
        std::string name = read_file("/proc/" + pid + "/comm");
        if (!name.empty() && name.back() == '\n') name.pop_back();
        out.push_back({std::move(pid), std::move(name)});
    }
    return out;
}

// Attaching and leaving again at once; a child does it, so that a tracer of ours is nobody's trouble.
bool can_trace(const process& p)
{
    const auto pid = static_cast<pid_t>(sys::parse_number(p.pid, 1U << 30).value_or(0));
    const pid_t child = ::fork();
    if (child == 0) ::_exit(::ptrace(PTRACE_SEIZE, pid, nullptr, nullptr) == 0 ? 1 : 0);
    int status = 0;
    return child > 0 && ::waitpid(child, &status, 0) == child && WIFEXITED(status) &&
           WEXITSTATUS(status) == 1;
}

std::vector<std::string> open_parts(const process& p)
{
    std::vector<std::string> open;
    for (const char* secret : {"environ", "mem", "maps"})
        if (const sys::unique_fd fd(::open(p.path(secret).c_str(), O_RDONLY | O_CLOEXEC)); fd)
            open.emplace_back(secret);
    if (DIR* d = ::opendir(p.path("fd").c_str()); d != nullptr) {
        open.emplace_back("fd");
        ::closedir(d);
    }
    if (can_trace(p)) open.emplace_back("ptrace");
    return open;
}

void look_at_leaks(report& r, const std::vector<process>& all)
{
    std::vector<std::string> environs;
    std::vector<std::string> lines;
    for (const process& p : all) {
        for (const std::string& entry : split(read_file(p.path("environ")), '\0')) {
            const std::string name = entry.substr(0, entry.find('='));
            const bool key = entry.size() > name.size() &&
                             looks_like_provider_key(std::string_view(entry).substr(name.size() + 1));
            if (is_control_variable(name) || key || holds_session_token(entry))
                environs.push_back(name + " of " + p.called());
        }
        for (const std::string& word : split(read_file(p.path("cmdline")), '\0'))
            if (looks_like_provider_key(word) || holds_session_token(word)) lines.push_back(p.called());
    }
    r.expect(environs.empty(), "environ of every readable process", "no orchestrator's variable, no key",
             join(environs),
             "let keyhole-init be PID 1 itself (no --init, no shell in front of it), and hand no secret to "
             "docker exec");
    r.expect(lines.empty(), "command lines", "no key, no token",
             "what looks like a secret is in the arguments of " + join(lines),
             "hand secrets over as files or variables, never as arguments: everybody may read them");
}

}  // namespace

void look_at_processes(report& r)
{
    const std::vector<process> all = others();
    const std::string first = read_file("/proc/1/comm");
    const bool is_self = ::getpid() == 1;
    r.expect(is_self || first == "keyhole-init\n", "PID 1", "keyhole-init",
             "PID 1 is '" + first.substr(0, first.find('\n')) +
                 "', whose environment its user may read and who does not supervise",
             "start the container without --init and with keyhole-init as its entry point");
    // The kernel's own thread: every process namespace but the first lacks it.
    r.expect(read_file("/proc/2/comm") != "kthreadd\n", "process namespace", "not the host's",
             "the host's processes are visible", "start without --pid host");

    // The number that the kernel gives the host's own.
    std::array<char, 64> ipc{};
    const bool told = ::readlink("/proc/self/ns/ipc", ipc.data(), ipc.size() - 1) > 0;
    r.expect(!told || std::string_view(ipc.data()) != "ipc:[4026531839]", "shared memory",
             "not the host's (that no other container shares it cannot be seen from inside)",
             "the host's shared memory and message queues are visible", "start without --ipc host");

    for (const process& p : all) {
        const std::vector<std::string> open = open_parts(p);
        if (p.is_ours())
            r.expect(open.empty(), p.called(), "closed", "the agent can use its " + join(open),
                     "give the programs mode 0111 in the image, and agent and bridge users of their own");
        else if (!open.empty())
            r.note(p.called(), "the agent's own kind: " + join(open));
    }
    if (!is_self && ::geteuid() != 0 && ::kill(1, 0) == 0)
        r.note("signals", "init shares the agent's uid: what it is sent comes back to the agent; a bridge "
                          "that is killed is "
                          "restarted");
    look_at_leaks(r, all);
}

}  // namespace keyhole::runtime::doctor
