#include "bridge/system.hpp"
#include "sandbox-runtime/doctor/looks.hpp"
#include "sandbox-runtime/environment.hpp"

#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace keyhole::runtime::doctor {
namespace {

constexpr int answer_limit_ms = 250;

struct address {
    sockaddr_storage storage{};
    socklen_t size = 0;

    const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
};

bool parse(const std::string& text, std::uint16_t port, address& out) noexcept
{
    auto* v4 = reinterpret_cast<sockaddr_in*>(&out.storage);
    if (::inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        out.size = sizeof *v4;
        return true;
    }
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&out.storage);
    if (::inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr) != 1) return false;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    out.size = sizeof *v6;
    return true;
}

// Connecting a datagram socket asks for a route and sends nothing.
bool has_route(const address& to) noexcept
{
    const sys::unique_fd fd(::socket(to.storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    return fd && ::connect(fd.get(), to.get(), to.size) == 0;
}

bool accepts_connections(const address& to) noexcept
{
    const sys::unique_fd fd(::socket(to.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return false;
    if (::connect(fd.get(), to.get(), to.size) == 0) return true;
    if (errno != EINPROGRESS) return false;
    pollfd watched{.fd = fd.get(), .events = POLLOUT, .revents = 0};
    if (::poll(&watched, 1, answer_limit_ms) != 1) return false;
    int error = 0;
    socklen_t size = sizeof error;
    return ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
}

// Asks for the root's name servers.
bool answers_dns(const address& to) noexcept
{
    constexpr unsigned char question[] = {0x4B, 0x48, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1};
    const sys::unique_fd fd(::socket(to.storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!fd || ::connect(fd.get(), to.get(), to.size) != 0) return false;
    if (::send(fd.get(), question, sizeof question, MSG_NOSIGNAL) != static_cast<ssize_t>(sizeof question))
        return false;
    pollfd watched{.fd = fd.get(), .events = POLLIN, .revents = 0};
    char answer[512];
    return ::poll(&watched, 1, answer_limit_ms) == 1 &&
           ::recv(fd.get(), answer, sizeof answer, MSG_DONTWAIT) > 0;
}

void look_at_interfaces(report& r)
{
    std::vector<std::string> interfaces;
    for (const std::string& line : split(read_file("/proc/net/dev"), '\n')) {
        const std::size_t colon = line.find(':');
        const std::size_t start = line.find_first_not_of(' ');
        if (colon == std::string::npos || start >= colon) continue;
        const std::string name = line.substr(start, colon - start);
        if (name != "lo") interfaces.push_back(name);
    }
    r.expect(interfaces.empty(), "network interfaces", "lo alone",
             "there is more than loopback: " + join(interfaces), "start the container with --network none");
}

void look_at_routes(report& r)
{
    std::vector<std::string> routes;
    const std::vector<std::string> table = split(read_file("/proc/net/route"), '\n');
    for (std::size_t i = 1; i < table.size(); ++i)
        routes.push_back("one by " + table[i].substr(0, table[i].find('\t')));
    // Addresses for documentation: nobody is there, so a route to them is a default route.
    for (const char* nowhere : {"192.0.2.1", "2001:db8::1"})
        if (address to; parse(nowhere, 9, to) && has_route(to))
            routes.emplace_back(std::string("one to ") + nowhere);
    r.expect(routes.empty(), "network routes", "no route out",
             "there are routes out of this container: " + join(routes), "start it with --network none");
}

void look_at_dns(report& r)
{
    std::vector<std::string> servers;
    std::vector<std::string> reached;
    for (const std::string& line : split(read_file("/etc/resolv.conf"), '\n')) {
        const std::vector<std::string> words = split_words(line);
        if (words.size() >= 2 && words[0] == "nameserver" && servers.size() < 3) servers.push_back(words[1]);
    }
    const bool named = !servers.empty();
    if (!named) servers = {"127.0.0.1", "::1"};  // whom libraries ask then
    for (const std::string& server : servers)
        if (address to; parse(server, 53, to) && answers_dns(to)) reached.push_back(server);
    r.expect(reached.empty(), "DNS",
             (named ? "no answer from " : "no server named; no answer from ") + join(servers),
             "a name server answers: " + join(reached) + "; names that are asked for leave the sandbox",
             "start the container with --network none, and no resolver on its loopback");
}

void look_at_metadata(report& r)
{
    std::vector<std::string> reached;
    for (const char* where : {"169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254"})
        if (address to; parse(where, 80, to) && accepts_connections(to)) reached.emplace_back(where);
    r.expect(reached.empty(), "cloud metadata", "out of reach",
             "the machine's credentials are served at " + join(reached),
             "start the container with --network none");
}

void look_at_abstract_sockets(report& r)
{
    std::vector<std::string> names;
    for (const std::string& line : split(read_file("/proc/net/unix"), '\n'))
        if (const std::size_t at = line.find(" @"); at != std::string::npos)
            names.push_back(line.substr(at + 1));
    r.expect(names.empty(), "abstract unix sockets", "none",
             "sockets without a file are in reach: " + join(names),
             "start the container with --network none: they belong to the network namespace");
}

}  // namespace

void look_at_network(report& r)
{
    look_at_interfaces(r);
    look_at_routes(r);
    look_at_dns(r);
    look_at_metadata(r);
    look_at_abstract_sockets(r);
}

}  // namespace keyhole::runtime::doctor
