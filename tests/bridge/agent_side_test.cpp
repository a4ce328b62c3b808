#include "bridge/agent_side.hpp"
#include "bridge/listen.hpp"

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

namespace keyhole::bridge {
namespace {

enum class client_kind { v4, v6, v4_mapped };

struct pair {
    sys::unique_fd agent;
    sys::unique_fd accepted;
};

pair connect_pair(client_kind kind)
{
    const bool v6_server = kind == client_kind::v6;
    // Port 0: the kernel picks one.
    const sys::unique_fd listener(::socket(v6_server ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_storage where{};
    socklen_t size = 0;
    if (v6_server) {
        auto* v6 = reinterpret_cast<sockaddr_in6*>(&where);
        v6->sin6_family = AF_INET6;
        v6->sin6_addr = in6addr_loopback;
        size = sizeof *v6;
    } else {
        auto* v4 = reinterpret_cast<sockaddr_in*>(&where);
        v4->sin_family = AF_INET;
        v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        size = sizeof *v4;
    }
    if (::bind(listener.get(), reinterpret_cast<sockaddr*>(&where), size) != 0 ||
        ::listen(listener.get(), 1) != 0)
        return {};
    ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&where), &size);
    if (kind == client_kind::v4_mapped) {
        const in_port_t port = reinterpret_cast<sockaddr_in*>(&where)->sin_port;
        where = {};
        auto* v6 = reinterpret_cast<sockaddr_in6*>(&where);
        v6->sin6_family = AF_INET6;
        v6->sin6_port = port;
        ::inet_pton(AF_INET6, "::ffff:127.0.0.1", &v6->sin6_addr);
        size = sizeof *v6;
    }
    pair p;
    p.agent = sys::unique_fd(::socket(where.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(p.agent.get(), reinterpret_cast<sockaddr*>(&where), size) != 0) return {};
    p.accepted = sys::unique_fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    return p;
}

void wait_for_fin(int fd)
{
    pollfd watched{.fd = fd, .events = POLLRDHUP, .revents = 0};
    ASSERT_EQ(::poll(&watched, 1, 5000), 1);
}

class AgentSide : public testing::TestWithParam<std::tuple<client_kind, bool>> {};

TEST_P(AgentSide, TellsAnAgentThatLeftFromOneThatOnlyFinishedSending)
{
    const auto [kind, with_netlink] = GetParam();
    agent_side agents(with_netlink);
    pair p = connect_pair(kind);
    if (!p.accepted) GTEST_SKIP() << "no such loopback here";
    EXPECT_FALSE(agents.is_orphan(p.accepted.get()));
    ::shutdown(p.agent.get(), SHUT_WR);
    wait_for_fin(p.accepted.get());
    EXPECT_FALSE(agents.is_orphan(p.accepted.get())) << "a half-close is not a farewell";
    p.agent.reset();
    EXPECT_TRUE(agents.is_orphan(p.accepted.get()));
}

TEST_P(AgentSide, SeesThatAnAgentClosedAtOnce)
{
    const auto [kind, with_netlink] = GetParam();
    agent_side agents(with_netlink);
    pair p = connect_pair(kind);
    if (!p.accepted) GTEST_SKIP() << "no such loopback here";
    p.agent.reset();
    wait_for_fin(p.accepted.get());
    EXPECT_TRUE(agents.is_orphan(p.accepted.get()));
}

INSTANTIATE_TEST_SUITE_P(EveryKindOfClient, AgentSide,
                         testing::Combine(testing::Values(client_kind::v4, client_kind::v6,
                                                          client_kind::v4_mapped),
                                          testing::Bool()));

}  // namespace
}  // namespace keyhole::bridge
