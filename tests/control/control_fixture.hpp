// A real control plane on temporary sockets, with a real ledger and store, and a client that writes raw
// bytes.
#pragma once

#include "metering/journal.hpp"
#include "metering/ledger.hpp"
#include "metering/metrics.hpp"
#include "proxy/control/admin.hpp"
#include "tests/support/temp_dir.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <arpa/inet.h>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <iterator>
#include <netinet/in.h>
#include <optional>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

namespace keyhole::proxy::test {

using nlohmann::json;

using keyhole::test::temp_dir;

inline std::uint16_t free_port()
{
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof at;
    if (::bind(fd, reinterpret_cast<sockaddr*>(&at), length) != 0) std::abort();
    ::getsockname(fd, reinterpret_cast<sockaddr*>(&at), &length);
    ::close(fd);
    return ntohs(at.sin_port);
}

struct http_answer {
    int status = 0;
    std::string head;
    std::string body;
    json read() const { return json::parse(body, nullptr, false); }
};

/// A connection that is written to and read from byte by byte; nothing waits longer than ten seconds.
class raw_client {
public:
    explicit raw_client(const std::string& socket)
    {
        fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_un at{};
        at.sun_family = AF_UNIX;
        std::strncpy(at.sun_path, socket.c_str(), sizeof at.sun_path - 1);
        connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0;
    }
    explicit raw_client(std::uint16_t port)
    {
        fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in at{};
        at.sin_family = AF_INET;
        at.sin_port = htons(port);
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0;
    }
    ~raw_client() { ::close(fd_); }
    raw_client(const raw_client&) = delete;
    raw_client& operator=(const raw_client&) = delete;

    bool connected() const { return connected_; }
    void send(std::string_view bytes) const
    {
        while (!bytes.empty()) {
            const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
            if (n <= 0) return;
            bytes.remove_prefix(static_cast<std::size_t>(n));
        }
    }
    /// One more piece; empty: the peer has closed (or ten seconds were over).
    std::string receive() const
    {
        pollfd p{fd_, POLLIN, 0};
        if (::poll(&p, 1, 10'000) != 1) return {};
        std::string piece(65536, '\0');
        const ssize_t n = ::recv(fd_, piece.data(), piece.size(), 0);
        piece.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
        return piece;
    }
    /// The next answer. `bodiless`: of a HEAD.
    http_answer answer(bool bodiless = false)
    {
        http_answer out;
        std::size_t end = 0;
        while ((end = pending_.find("\r\n\r\n")) == std::string::npos) {
            const std::string piece = receive();
            if (piece.empty()) return out;
            pending_ += piece;
        }
        out.head = pending_.substr(0, end + 4);
        pending_.erase(0, end + 4);
        out.status = std::atoi(out.head.c_str() + out.head.find(' ') + 1);
        const std::size_t at = out.head.find("Content-Length: ");
        const std::size_t size =
            at == std::string::npos || bodiless ? 0 : std::stoul(out.head.substr(at + 16));
        while (pending_.size() < size) {
            const std::string piece = receive();
            if (piece.empty()) return out;
            pending_ += piece;
        }
        out.body = pending_.substr(0, size);
        pending_.erase(0, size);
        return out;
    }

private:
    int fd_ = -1;
    bool connected_ = false;
    std::string pending_;
};

inline std::string request_text(std::string_view method, std::string_view target, std::string_view body = {},
                                std::string_view headers = {})
{
    std::string text;
    text.append(method).append(" ").append(target).append(" HTTP/1.1\r\nHost: keyhole\r\n").append(headers);
    if (!body.empty() || method == "POST" || method == "PUT")
        text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    return text.append("\r\n").append(body);
}

/// As curl would: one request on a connection of its own.
template <class Where>
http_answer call(const Where& where, std::string_view method, std::string_view target,
                 std::string_view body = {}, std::string_view headers = {})
{
    raw_client client(where);
    client.send(request_text(method, target, body, headers));
    return client.answer(method == "HEAD");
}

class control_plane {
public:
    struct choices {
        bool with_token = true;
        bool with_tcp = true;
        bool own_sockets = true;
    };

    explicit control_plane(choices c) : choices_(c) { open(); }
    control_plane() : control_plane(choices()) {}
    ~control_plane() { close(); }
    control_plane(const control_plane&) = delete;
    control_plane& operator=(const control_plane&) = delete;

    http_answer admin(std::string_view method, std::string_view target, const json& body) const
    {
        return call(socket(), method, target, body.dump());
    }
    http_answer admin(std::string_view method, std::string_view target) const
    {
        return call(socket(), method, target);
    }
    json create(const json& fields)
    {
        const http_answer made =
            admin("POST", "/admin/v1/sessions", fields.is_null() ? json::object() : fields);
        EXPECT_EQ(made.status, 201) << made.body;
        return made.read();
    }
    std::string socket() const { return dir / "admin/admin.sock"; }
    std::string bearer() const { return "Authorization: Bearer " + admin_token + "\r\n"; }

    /// A finished request in the ledger.
    void book(const std::string& session, std::int64_t nano_usd, std::int64_t input, std::int64_t output,
              const std::string& account = {})
    {
        metering::record r;
        r.request_id = metering::new_request_id();
        r.session = session;
        r.account = account;
        r.provider = "openai";
        r.route = "POST /v1/chat/completions";
        r.model = "gpt-4o";
        r.format = metering::wire::openai_chat;
        r.source = metering::usage_source::provider;
        r.end = metering::outcome::ok;
        r.status = 200;
        r.priced = true;
        r.counts.input = input;
        r.counts.output = output;
        r.cost_nano_usd = nano_usd;
        r.received_us = metering::now_us() - 1000;
        r.ended_us = metering::now_us();
        const auto slot = journal->open(r);
        ASSERT_TRUE(slot.has_value());
        journal->settle(*slot);
        books->submit(*slot);
        ASSERT_TRUE(books->flush(10));
    }

    /// Everything in memory goes, what is on disk stays.
    void restart()
    {
        close();
        open();
    }

    /// Runs on the control thread, and waits for it.
    template <class F>
    void on_control_thread(F f)
    {
        std::promise<void> done;
        boost::asio::post(*io, [&] {
            f();
            done.set_value();
        });
        done.get_future().wait();
    }

    temp_dir dir;
    const std::string admin_token = "admin-secret-0123456789";
    std::uint16_t tcp_port = 0;
    std::uint16_t metrics_port = 0;
    std::unique_ptr<metering::journal> journal;
    std::unique_ptr<metering::ledger> books;
    std::unique_ptr<metering::metrics> meters;
    std::unique_ptr<session_registry> registry;
    std::unique_ptr<session_store> store;
    std::shared_ptr<config::settings> settings;
    std::unique_ptr<boost::asio::io_context> io;
    std::unique_ptr<admin_server> server;
    std::string not_ready;             ///< set before a request, read on the control thread
    std::vector<std::string> revoked;  ///< ids, as the control thread told them
    std::vector<std::string> bound;
    std::size_t loaded = 0;
    bool refuse_own_socket = false;

private:
    void open()
    {
        std::filesystem::create_directories(dir / "state");
        journal = std::make_unique<metering::journal>(dir / "state/inflight.journal", 64U, false);
        books = std::make_unique<metering::ledger>(dir / "state", *journal, false);
        meters = std::make_unique<metering::metrics>("0");
        registry = std::make_unique<session_registry>();
        store = std::make_unique<session_store>(dir / "state");
        loaded = store->load_into(*registry, *books, metering::now_us());
        settings = std::make_shared<config::settings>();
        settings->admin.socket = socket();
        if (choices_.with_tcp) settings->admin.tcp = config::tcp_address{"127.0.0.1", tcp_port = free_port()};
        if (choices_.with_token) settings->admin.token = std::make_shared<const config::secret>(admin_token);
        settings->metrics.tcp = config::tcp_address{"127.0.0.1", metrics_port = free_port()};
        for (const char* name : {"openai", "anthropic"}) {
            config::provider p;
            p.name = name;
            settings->providers.push_back(p);
        }
        io = std::make_unique<boost::asio::io_context>(1);
        control_surface surface{*registry, *store, *books, *meters, {}, {}, {}, {}, {}};
        surface.settings = [this] { return settings; };
        surface.revoked = [this](const session_ptr& s) { revoked.push_back(s->info.id); };
        if (choices_.own_sockets)
            surface.bind_own_socket = [this](const session_ptr& s) -> std::string {
                if (refuse_own_socket) throw std::runtime_error("the disk is full (free some space)");
                bound.push_back(s->info.id);
                return "/run/keyhole-sessions/" + s->info.id + "/llm.sock";
            };
        surface.not_ready = [this] { return not_ready; };
        surface.agent_connections = [] { return std::uint64_t{7}; };
        server = std::make_unique<admin_server>(*io, std::move(surface), *settings);
        thread_ = std::thread([this] {
            const auto guard = boost::asio::make_work_guard(*io);
            io->run();
        });
    }

    void close()
    {
        on_control_thread([this] { server.reset(); });
        io->stop();
        thread_.join();
        io.reset();
        store.reset();
        registry.reset();
        books.reset();
        journal.reset();
    }

    choices choices_;
    std::thread thread_;
};

}  // namespace keyhole::proxy::test
