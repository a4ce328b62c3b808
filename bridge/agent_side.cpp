#include "bridge/agent_side.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace keyhole::bridge {
namespace {

struct endpoints {
    sockaddr_storage agent{};
    sockaddr_storage bridge{};
};

bool find_endpoints(int fd, endpoints& e) noexcept
{
    socklen_t size = sizeof e.agent;
    if (::getpeername(fd, reinterpret_cast<sockaddr*>(&e.agent), &size) != 0) return false;
    size = sizeof e.bridge;
    return ::getsockname(fd, reinterpret_cast<sockaddr*>(&e.bridge), &size) == 0;
}

struct ip_and_port {
    std::uint32_t ip[4] = {};  // network order, as the kernel keeps and prints it
    std::uint16_t port = 0;    // network order
    bool v6 = false;
};

ip_and_port split(const sockaddr_storage& address) noexcept
{
    ip_and_port out;
    if (address.ss_family == AF_INET6) {
        sockaddr_in6 v6;
        std::memcpy(&v6, &address, sizeof v6);
        std::memcpy(out.ip, &v6.sin6_addr, sizeof out.ip);
        out.port = v6.sin6_port;
        out.v6 = true;
        return out;
    }
    sockaddr_in v4;
    std::memcpy(&v4, &address, sizeof v4);
    out.ip[0] = v4.sin_addr.s_addr;
    out.port = v4.sin_port;
    return out;
}

bool is_local(const ip_and_port& a) noexcept
{
    if (!a.v6) return (ntohl(a.ip[0]) >> 24) == 127;
    return a.ip[0] == 0 && a.ip[1] == 0 && a.ip[2] == 0 && a.ip[3] == htonl(1);
}

// One "LOCAL:PORT REMOTE:PORT" of /proc/net/tcp or tcp6 as the agent's socket has it.
std::size_t print_row_key(char* out, std::size_t size, const ip_and_port& agent, const ip_and_port& bridge,
                          bool mapped) noexcept
{
    const unsigned agent_port = ntohs(agent.port);
    const unsigned bridge_port = ntohs(bridge.port);
    int n = 0;
    if (agent.v6)
        n = std::snprintf(out, size, "%08X%08X%08X%08X:%04X %08X%08X%08X%08X:%04X", agent.ip[0], agent.ip[1],
                          agent.ip[2], agent.ip[3], agent_port, bridge.ip[0], bridge.ip[1], bridge.ip[2],
                          bridge.ip[3], bridge_port);
    else if (mapped)  // a dual-stack client (Java's, for example) that dialled 127.0.0.1
        n = std::snprintf(out, size, "0000000000000000%08X%08X:%04X 0000000000000000%08X%08X:%04X",
                          htonl(0xFFFF), agent.ip[0], agent_port, htonl(0xFFFF), bridge.ip[0], bridge_port);
    else
        n = std::snprintf(out, size, "%08X:%04X %08X:%04X", agent.ip[0], agent_port, bridge.ip[0],
                          bridge_port);
    return static_cast<std::size_t>(n);
}

enum class row { absent, owned, unowned, unreadable };

// Columns after the key: st tx:rx tr:when retrnsmt uid timeout inode.
row find_row(const char* table, std::string_view key) noexcept
{
    const sys::unique_fd fd(::open(table, O_RDONLY | O_CLOEXEC));
    if (!fd) return row::unreadable;
    char buffer[8192];
    std::size_t used = 0;
    for (;;) {
        const ssize_t n = ::read(fd.get(), buffer + used, sizeof buffer - used);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return n == 0 ? row::absent : row::unreadable;
        used += static_cast<std::size_t>(n);
        std::string_view rest(buffer, used);
        for (std::size_t end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
            std::string_view line = rest.substr(0, end);
            rest.remove_prefix(end + 1);
            const std::size_t at = line.find(key);
            if (at == std::string_view::npos) continue;
            line.remove_prefix(at + key.size());
            std::string_view column;
            for (int i = 0; i < 7; ++i) {
                const std::size_t start = line.find_first_not_of(' ');
                if (start == std::string_view::npos) return row::unreadable;
                line.remove_prefix(start);
                column = line.substr(0, line.find(' '));
                line.remove_prefix(column.size());
            }
            return column == "0" ? row::unowned : row::owned;
        }
        if (rest.size() == sizeof buffer) return row::unreadable;
        std::memmove(buffer, rest.data(), rest.size());
        used = rest.size();
    }
}

bool is_orphan_by_proc(const ip_and_port& agent, const ip_and_port& bridge) noexcept
{
    char key[128];
    bool seen_a_table = false;
    for (const bool mapped : {false, true}) {
        if (mapped && agent.v6) break;
        const std::size_t length = print_row_key(key, sizeof key, agent, bridge, mapped);
        switch (find_row(agent.v6 || mapped ? "/proc/net/tcp6" : "/proc/net/tcp", {key, length})) {
        case row::owned:
            return false;
        case row::unowned:
            return true;
        case row::absent:
            seen_a_table = true;
            break;
        case row::unreadable:
            break;
        }
    }
    // In no table: the kernel has forgotten the socket altogether.
    return seen_a_table;
}

enum class answer { alive, orphan, unknown };

// sock_diag: one exact look-up, a few microseconds however many sockets there are.
answer ask_kernel(int netlink, const ip_and_port& agent, const ip_and_port& bridge) noexcept
{
    if (netlink < 0) return answer::unknown;

    struct {
        nlmsghdr head;
        inet_diag_req_v2 body;
    } question{};
    question.head.nlmsg_len = sizeof question;
    question.head.nlmsg_type = SOCK_DIAG_BY_FAMILY;
    question.head.nlmsg_flags = NLM_F_REQUEST;
    question.body.sdiag_family = agent.v6 ? AF_INET6 : AF_INET;
    question.body.sdiag_protocol = IPPROTO_TCP;
    question.body.idiag_states = ~0U;
    question.body.id.idiag_sport = agent.port;
    question.body.id.idiag_dport = bridge.port;
    std::memcpy(question.body.id.idiag_src, agent.ip, sizeof agent.ip);
    std::memcpy(question.body.id.idiag_dst, bridge.ip, sizeof bridge.ip);
    question.body.id.idiag_cookie[0] = INET_DIAG_NOCOOKIE;
    question.body.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
    if (::send(netlink, &question, sizeof question, 0) != static_cast<ssize_t>(sizeof question))
        return answer::unknown;

    alignas(nlmsghdr) char reply[1024];
    const ssize_t n = ::recv(netlink, reply, sizeof reply, 0);
    if (n < static_cast<ssize_t>(sizeof(nlmsghdr))) return answer::unknown;
    nlmsghdr head;
    std::memcpy(&head, reply, sizeof head);
    // ENOENT means "no such socket" as well as "no such module": the table in /proc decides.
    if (head.nlmsg_type != SOCK_DIAG_BY_FAMILY ||
        n < static_cast<ssize_t>(NLMSG_LENGTH(sizeof(inet_diag_msg))))
        return answer::unknown;
    inet_diag_msg found;
    std::memcpy(&found, reply + NLMSG_HDRLEN, sizeof found);
    return found.idiag_inode == 0 ? answer::orphan : answer::alive;
}

}  // namespace

agent_side::agent_side(bool with_netlink) noexcept
    : netlink_(with_netlink ? ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_SOCK_DIAG)
                            : -1)
{
}

bool agent_side::is_orphan(int tcp_fd) noexcept
{
    endpoints e;
    if (!find_endpoints(tcp_fd, e)) return true;
    const ip_and_port agent = split(e.agent);
    if (!is_local(agent)) return false;
    const ip_and_port bridge = split(e.bridge);
    switch (ask_kernel(netlink_.get(), agent, bridge)) {
    case answer::alive:
        return false;
    case answer::orphan:
        return true;
    case answer::unknown:
        break;
    }
    return is_orphan_by_proc(agent, bridge);
}

}  // namespace keyhole::bridge
