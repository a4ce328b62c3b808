#include "bridge/system.hpp"
#include "sandbox-runtime/doctor/looks.hpp"

#include <arpa/inet.h>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace keyhole::runtime::doctor {
namespace {

constexpr int answer_limit_ms = 10'000;  // the bridge itself waits 5 s for a proxy that restarts

// The status line of /health, or what went wrong.
std::string ask_for_health(std::uint16_t port)
{
    const sys::unique_fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (!fd || ::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) != 0)
        return std::strerror(errno);
    sys::write_all(fd.get(), "GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    std::string answer;
    char buffer[512];
    const std::int64_t until = sys::now_ms() + answer_limit_ms;
    while (answer.find('\n') == std::string::npos) {
        pollfd watched{.fd = fd.get(), .events = POLLIN, .revents = 0};
        const std::int64_t left = until - sys::now_ms();
        if (left <= 0 || ::poll(&watched, 1, static_cast<int>(left)) != 1) return "no answer within 10 s";
        const ssize_t n = ::recv(fd.get(), buffer, sizeof buffer, 0);
        if (n <= 0) return "the connection was closed without an answer";
        answer.append(buffer, static_cast<std::size_t>(n));
    }
    return answer.substr(0, answer.find_first_of("\r\n"));
}

std::string octal(unsigned mode)
{
    char text[16];
    std::snprintf(text, sizeof text, "%04o", mode & 07777U);
    return text;
}

void look_at_socket(report& r, const place& here, const struct stat& info)
{
    const std::string directory = here.socket.substr(0, here.socket.rfind('/') + 1);
    const std::string name = here.socket.substr(directory.size());
    r.expect(::access(directory.c_str(), W_OK) != 0, "socket directory", directory + " cannot be written",
             directory + " can be written, so the proxy's socket can be replaced", "mount it read-only");
    r.expect(::geteuid() == 0 || info.st_uid != ::geteuid(), "socket's owner",
             "uid " + std::to_string(info.st_uid) + ", mode " + octal(info.st_mode),
             "the socket belongs to the agent's own uid, which may change its mode",
             "run the proxy as a user of its own");
    std::vector<std::string> more;
    for (const std::string& each : names_in(directory))
        if (each != name) more.push_back(each);
    r.expect(more.empty(), "one socket", "nothing beside it",
             "the socket's directory also holds " + join(more),
             "give each sandbox a directory with its own socket alone");
}

}  // namespace

void look_at_models(report& r, const place& here)
{
    struct stat info{};
    const bool there = ::stat(here.socket.c_str(), &info) == 0;
    if (there) look_at_socket(r, here, info);
    const std::string where = "127.0.0.1:" + std::to_string(here.port);
    if (!there && !here.expects_proxy) {
        r.note("models", "no proxy's socket at " + here.socket + ", and none is expected");
        return;
    }
    const std::string answer = ask_for_health(here.port);
    r.expect(there && answer.starts_with("HTTP/1.1 200"), "models",
             where + " is served, and the proxy behind it answers",
             (there ? std::string() : "no socket at " + here.socket + "; ") + where + ": " + answer,
             "start the proxy, mount its socket's directory at /llm-sock, and start the agent through "
             "keyhole-init");
}

}  // namespace keyhole::runtime::doctor
