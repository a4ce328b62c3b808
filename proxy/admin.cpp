#include "proxy/admin.hpp"

#include "proxy/admin_api.hpp"
#include "proxy/listener.hpp"
#include "proxy/net/task.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include <filesystem>
#include <stdexcept>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace keyhole::proxy {
namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;

constexpr std::uint64_t largest_body = 1024 * 1024;
constexpr std::uint32_t largest_head = 16 * 1024;
constexpr auto patience = std::chrono::seconds(15);

using control_stream = beast::basic_stream<asio::generic::stream_protocol, executor>;

enum class surface_kind : unsigned char { admin_socket, admin_tcp, metrics };

std::string decode(std::string_view text, bool plus_is_space)
{
    const auto hex = [](char c) {
        return c >= '0' && c <= '9'   ? c - '0'
               : c >= 'a' && c <= 'f' ? c - 'a' + 10
               : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                      : -1;
    };
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '%' && i + 2 < text.size() && hex(text[i + 1]) >= 0 && hex(text[i + 2]) >= 0) {
            out += static_cast<char>(hex(text[i + 1]) * 16 + hex(text[i + 2]));
            i += 2;
        } else
            out += plus_is_space && text[i] == '+' ? ' ' : text[i];
    }
    return out;
}

admin_request understand(const http::request<http::string_body>& in)
{
    admin_request out;
    out.method = std::string(in.method_string());
    const std::string target(in.target());
    const auto question = target.find('?');
    out.path = decode(std::string_view(target).substr(0, question), false);
    auto query =
        question == std::string::npos ? std::string_view{} : std::string_view(target).substr(question + 1);
    while (!query.empty()) {
        const auto pair = query.substr(0, query.find('&'));
        const auto equals = pair.find('=');
        out.query[decode(pair.substr(0, equals), true)] =
            equals == std::string_view::npos ? std::string() : decode(pair.substr(equals + 1), true);
        query.remove_prefix(std::min(pair.size() + 1, query.size()));
    }
    return out;
}

/// The admin socket's peers: root and our own user, as the kernel names them.
bool peer_is_trusted(int descriptor)
{
    ucred peer{};
    socklen_t length = sizeof peer;
    if (::getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return false;
    return peer.uid == 0 || peer.uid == ::geteuid();
}

struct control {
    control_surface surface;
    config::secret_ptr token;

    admin_answer answer(surface_kind kind, bool trusted, http::request<http::string_body>& in)
    {
        if (kind == surface_kind::metrics) {
            const auto target = std::string(in.target());
            return answer_metrics(surface, std::string(in.method_string()),
                                  target.substr(0, target.find('?')));
        }
        if (kind == surface_kind::admin_socket && !trusted)
            return error_answer(403, "only root and keyhole's own user may use the admin socket");
        auto request = understand(in);
        request.trusted = kind == surface_kind::admin_socket;
        request.token_configured = token != nullptr;
        const std::string presented(in[http::field::authorization]);
        constexpr std::string_view scheme = "Bearer ";
        if (token && presented.starts_with(scheme))
            request.authorized = config::equal_in_constant_time(
                std::string_view(presented).substr(scheme.size()), token->reveal());
        request.body = std::move(in.body());
        auto out = answer_admin(surface, request);
        config::wipe(request.body.data(), request.body.size());  // it may hold a key or a token
        return out;
    }
};

task<> serve_control(std::shared_ptr<control> c, agent_socket socket, surface_kind kind)
{
    const bool trusted = kind == surface_kind::admin_socket && peer_is_trusted(socket.native_handle());
    control_stream stream(std::move(socket));
    beast::flat_buffer buffer(largest_head + 64 * 1024);
    bool again = true;
    while (again) {
        http::request_parser<http::string_body> parser;
        parser.header_limit(largest_head);
        parser.body_limit(largest_body);
        stream.expires_after(patience);
        auto [ec, n] = co_await http::async_read(stream, buffer, parser, as_result);
        if (ec && ec != http::error::body_limit && ec != http::error::header_limit) break;
        admin_answer answer;
        unsigned version = 11;
        bool head_only = false;
        if (ec) {
            answer = error_answer(ec == http::error::body_limit ? 413 : 431, "the request is too large");
            again = false;
        } else {
            auto& request = parser.get();
            version = request.version();
            again = request.keep_alive();
            head_only = request.method() == http::verb::head;
            answer = c->answer(kind, trusted, request);
        }
        http::response<http::string_body> out(static_cast<http::status>(answer.status), version);
        out.set(http::field::content_type, answer.type);
        out.set(http::field::cache_control, "no-store");
        out.keep_alive(again);
        out.body() = std::move(answer.body);
        out.prepare_payload();
        if (head_only) out.body().clear();
        stream.expires_after(patience);
        auto [failed, written] = co_await http::async_write(stream, out, as_result);
        config::wipe(out.body().data(), out.body().size());
        if (failed) break;
    }
    error_code ignored;
    stream.socket().shutdown(asio::socket_base::shutdown_send, ignored);
}

}  // namespace

struct admin_server::impl : std::enable_shared_from_this<admin_server::impl> {
    using acceptor_type = asio::basic_socket_acceptor<asio::generic::stream_protocol, executor>;

    struct door {
        acceptor_type acceptor;
        surface_kind kind;
        std::string path;
    };

    impl(asio::io_context& io, control_surface surface, const config::settings& s)
        : io_(io), control_(std::make_shared<control>(control{std::move(surface), s.admin.token}))
    {
    }

    void add(int descriptor, bool tcp, surface_kind kind, std::string path)
    {
        auto d = std::make_shared<door>(door{acceptor_type(io_.get_executor()), kind, std::move(path)});
        d->acceptor.assign(asio::generic::stream_protocol(tcp ? AF_INET : AF_UNIX, 0), descriptor);
        doors_.push_back(d);
        asio::co_spawn(io_.get_executor(), accept(d, control_), asio::detached);
    }

    static task<> accept(std::shared_ptr<door> d, std::shared_ptr<control> c)
    {
        timer pause(d->acceptor.get_executor());
        while (d->acceptor.is_open()) {
            agent_socket socket(d->acceptor.get_executor());
            auto [ec] = co_await d->acceptor.async_accept(socket, as_result);
            if (!d->acceptor.is_open()) break;
            if (ec) {
                pause.expires_after(std::chrono::milliseconds(100));
                auto [waited] = co_await pause.async_wait(as_result);
                if (waited) break;
                continue;
            }
            asio::co_spawn(d->acceptor.get_executor(), serve_control(c, std::move(socket), d->kind),
                           asio::detached);
        }
    }

    void stop()
    {
        for (const auto& d : doors_) {
            error_code ignored;
            d->acceptor.close(ignored);
            if (!d->path.empty()) ::unlink(d->path.c_str());
        }
        doors_.clear();
    }

    asio::io_context& io_;
    std::shared_ptr<control> control_;
    std::vector<std::shared_ptr<door>> doors_;
};

admin_server::admin_server(asio::io_context& io, control_surface surface, const config::settings& s)
    : impl_(std::make_shared<impl>(io, std::move(surface), s))
{
    const auto directory = std::filesystem::path(s.admin.socket).parent_path();
    std::error_code ec;
    if (!std::filesystem::is_directory(directory, ec)) {
        std::filesystem::create_directories(directory, ec);
        ::chmod(directory.c_str(), 0700);
    }
    impl_->add(listen_unix(s.admin.socket, {0600, ""}), false, surface_kind::admin_socket, s.admin.socket);
    if (s.admin.tcp) impl_->add(listen_tcp(*s.admin.tcp), true, surface_kind::admin_tcp, "");
    if (s.metrics.tcp) impl_->add(listen_tcp(*s.metrics.tcp), true, surface_kind::metrics, "");
}

admin_server::~admin_server()
{
    impl_->stop();
}

void admin_server::stop()
{
    impl_->stop();
}

}  // namespace keyhole::proxy
