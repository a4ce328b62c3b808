#include "sandbox-runtime/inspect.hpp"

#include "bridge/system.hpp"
#include "sandbox-runtime/environment.hpp"
#include "sandbox-runtime/provider_keys.hpp"

#include <arpa/inet.h>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace keyhole::runtime {
namespace {

class report {
public:
    void ok(const std::string& text) { line("ok    ", text); }
    void note(const std::string& text) { line("note  ", text); }
    void leak(const std::string& text)
    {
        ++leaks_;
        line("LEAK  ", text);
    }
    void expect(bool good, const std::string& if_good, const std::string& if_bad)
    {
        if (good)
            ok(if_good);
        else
            leak(if_bad);
    }
    int leaks() const noexcept { return leaks_; }

private:
    static void line(const char* verdict, const std::string& text)
    {
        sys::write_all(STDOUT_FILENO, verdict + text + "\n");
    }
    int leaks_ = 0;
};

std::string read_file(const std::string& path)
{
    const sys::unique_fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    std::string text;
    char buffer[4096];
    while (fd && text.size() < 262'144) {
        const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
        if (n <= 0) break;
        text.append(buffer, static_cast<std::size_t>(n));
    }
    return text;
}

// "NoNewPrivs:\t1\n" of /proc/PID/status.
std::string field_of(const std::string& status, const std::string& name)
{
    const std::size_t at = status.find("\n" + name + ":");
    if (at == std::string::npos) return {};
    const std::size_t start = status.find_first_not_of(" \t", at + name.size() + 2);
    return status.substr(start, status.find('\n', start) - start);
}

std::vector<std::string> names_in(const char* directory)
{
    std::vector<std::string> names;
    DIR* d = ::opendir(directory);
    if (d == nullptr) return names;
    const std::string own = std::to_string(::dirfd(d));
    while (const dirent* entry = ::readdir(d))
        if (entry->d_name[0] != '.' &&
            (std::string_view(directory) != "/proc/self/fd" || own != entry->d_name))
            names.emplace_back(entry->d_name);
    ::closedir(d);
    return names;
}

std::string join(const std::vector<std::string>& words)
{
    std::string out;
    for (const std::string& word : words)
        out += (out.empty() ? "" : " ") + word;
    return out.empty() ? "none" : out;
}

void look_at_identity(report& r)
{
    const std::string status = read_file("/proc/self/status");
    r.expect(::geteuid() != 0,
             "uid " + std::to_string(::geteuid()) + ", gid " + std::to_string(::getegid()) + ", groups " +
                 (field_of(status, "Groups").empty() ? "none" : field_of(status, "Groups")),
             "the agent is root");
    const std::string capabilities = field_of(status, "CapEff");
    r.expect(capabilities.find_first_not_of('0') == std::string::npos, "no capabilities",
             "capabilities " + capabilities);
    r.expect(field_of(status, "NoNewPrivs") == "1", "no new privileges",
             "set-user-id programs work (no_new_privs is off)");
    if (field_of(status, "Seccomp") == "0")
        r.note("no seccomp filter; the container engine's default one is better than none");
}

void look_at_environment(report& r, char** envp)
{
    std::vector<std::string> names;
    for (char** each = envp; *each != nullptr; ++each) {
        const std::string_view entry = *each;
        const std::string name(entry.substr(0, entry.find('=')));
        names.push_back(name);
        if (is_control_variable(name))
            r.leak("variable " + name + " belongs to the orchestrator");
        else if (entry.size() > name.size() && looks_like_provider_key(entry.substr(name.size() + 1)))
            r.leak("variable " + name + " holds what looks like a provider's key");
    }
    r.ok("environment: " + join(names));
}

void look_at_descriptors(report& r)
{
    std::vector<std::string> extra;
    for (const std::string& fd : names_in("/proc/self/fd"))
        if (fd.size() > 1 || fd > "2") extra.push_back(fd);
    r.expect(extra.empty(), "descriptors: 0 1 2", "inherited descriptors: " + join(extra));
}

void look_at_processes(report& r)
{
    for (const std::string& pid : names_in("/proc")) {
        if (!sys::parse_number(pid, 1U << 30) || pid == std::to_string(::getpid())) continue;
        const std::string base = "/proc/" + pid + "/";
        const std::string status = read_file(base + "status");
        const std::string name = status.substr(0, status.find('\n')).substr(status.find('\t') + 1);
        std::vector<std::string> open;
        for (const char* secret : {"environ", "mem", "maps"})
            if (const sys::unique_fd fd(::open((base + secret).c_str(), O_RDONLY | O_CLOEXEC)); fd)
                open.emplace_back(secret);
        if (DIR* d = ::opendir((base + "fd").c_str()); d != nullptr) {
            open.emplace_back("fd");
            ::closedir(d);
        }
        std::string who = "process ";
        who.append(pid).append(" (").append(name).append(")");
        if (open.empty())
            r.ok(who + ": closed");
        else if (pid == "1" || name.starts_with("keyhole"))
            r.leak(who + ": readable: " + join(open));
        else
            r.note(who + ": readable: " + join(open));
        if (pid == "1" && ::kill(1, 0) == 0)
            r.note("init shares the agent's uid; it can be signalled, not read");
    }
}

bool has_route(int family, const char* address)
{
    const sys::unique_fd fd(::socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!fd) return false;
    if (family == AF_INET) {
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(9);
        ::inet_pton(AF_INET, address, &to.sin_addr);
        return ::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) == 0;
    }
    sockaddr_in6 to{};
    to.sin6_family = AF_INET6;
    to.sin6_port = htons(9);
    ::inet_pton(AF_INET6, address, &to.sin6_addr);
    return ::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) == 0;
}

void look_at_network(report& r)
{
    std::vector<std::string> interfaces;
    std::string table = read_file("/proc/net/dev");
    for (std::size_t end = table.find('\n'); end != std::string::npos; end = table.find('\n')) {
        const std::size_t colon = table.find(':');
        if (colon < end) {
            const std::size_t start = table.find_first_not_of(' ');
            const std::string name = table.substr(start, colon - start);
            if (name != "lo") interfaces.push_back(name);
        }
        table.erase(0, end + 1);
    }
    // Documentation addresses; connecting a datagram socket asks for a route and sends nothing.
    const bool routed = has_route(AF_INET, "192.0.2.1") || has_route(AF_INET6, "2001:db8::1");
    r.expect(!routed, "network: no route out",
             "there is a route out of this container; start it with --network none");
    if (!routed && !interfaces.empty()) r.note("interfaces without a route: " + join(interfaces));
    if (const sys::unique_fd vsock(::socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0)); vsock)
        r.note("AF_VSOCK sockets can be made; a current engine's seccomp profile forbids them");
}

void look_at_files(report& r, const std::string& socket)
{
    const std::string directory = socket.substr(0, socket.rfind('/') + 1);
    struct stat info{};
    if (::stat(socket.c_str(), &info) != 0)
        r.note("no proxy socket at " + socket);
    else
        r.expect(::access(directory.c_str(), W_OK) != 0, directory + " cannot be written",
                 directory + " can be written, so its socket can be replaced; mount it read-only");
    for (const std::string& name : names_in("/run/secrets")) {
        const std::string path = "/run/secrets/" + name;
        if (::access(path.c_str(), R_OK) != 0)
            r.ok(path + ": closed");
        else if (name == "session_token")
            r.leak(path + " can be read");
        else
            r.note(path + " can be read");
    }
}

void look_at_models(report& r, std::uint16_t port)
{
    const sys::unique_fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const std::string where = "127.0.0.1:" + std::to_string(port);
    if (fd && ::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) == 0)
        r.ok("models: " + where + " is served");
    else
        r.note("models: nothing at " + where);
}

}  // namespace

int inspect(char** envp, const std::string& socket, std::uint16_t port)
{
    report r;
    look_at_identity(r);
    look_at_environment(r, envp);
    look_at_descriptors(r);
    look_at_processes(r);
    look_at_network(r);
    look_at_files(r, socket);
    look_at_models(r, port);
    sys::write_all(STDOUT_FILENO,
                   r.leaks() == 0 ? "nothing leaks\n" : std::to_string(r.leaks()) + " leaks\n");
    return r.leaks() == 0 ? 0 : 1;
}

}  // namespace keyhole::runtime
