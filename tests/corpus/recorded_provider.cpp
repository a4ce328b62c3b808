#include "recorded_provider.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>

#include <algorithm>
#include <charconv>
#include <list>
#include <mutex>
#include <thread>

namespace keyhole::corpus {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;

namespace {

std::size_t number(std::string_view text)
{
    std::size_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

std::string_view field(const http::request<http::string_body>& request, std::string_view name)
{
    const auto at = request.find(boost::beast::string_view(name.data(), name.size()));
    return at == request.end() ? std::string_view()
                               : std::string_view(at->value().data(), at->value().size());
}

void send(tcp::socket& to, const std::string& bytes)
{
    asio::write(to, asio::buffer(bytes));
}

void send_answer(tcp::socket& to, const recorded_answer& answer)
{
    std::string head = "HTTP/1.1 " + std::to_string(answer.status) + " Recorded\r\n";
    for (const auto& [name, value] : answer.fields)
        head += name + ": " + value + "\r\n";
    if (answer.sizes.empty()) {
        send(to, head + "content-length: " + std::to_string(answer.body.size()) + "\r\n\r\n" +
                     std::string(answer.body));
        return;
    }
    send(to, head + "transfer-encoding: chunked\r\n\r\n");
    std::size_t at = 0;
    for (std::size_t i = 0; at < answer.body.size(); ++i) {
        const auto piece = answer.body.substr(
            at, std::max<std::size_t>(answer.sizes[std::min(i, answer.sizes.size() - 1)], 1));
        char size[20];
        const auto end = std::to_chars(size, size + sizeof size, piece.size(), 16).ptr;
        send(to, std::string(size, end) + "\r\n" + std::string(piece) + "\r\n");
        at += piece.size();
    }
    send(to, "0\r\n\r\n");
}

}  // namespace

struct recorded_provider::impl {
    impl(std::string k, find_answer f)
        : key(std::move(k)), find(std::move(f)), acceptor(io, {asio::ip::address_v4::loopback(), 0})
    {
        accepting = std::thread([this] { accept(); });
    }
    ~impl()
    {
        boost::system::error_code ignored;
        stopping = true;
        acceptor.cancel(ignored);
        ::shutdown(acceptor.native_handle(), SHUT_RDWR);
        accepting.join();
        for (auto& c : connections) {
            c.socket.shutdown(tcp::socket::shutdown_both, ignored);
            c.serving.join();
        }
    }
    impl(const impl&) = delete;
    impl& operator=(const impl&) = delete;

    struct connection {
        tcp::socket socket;
        std::thread serving;
    };

    void accept()
    {
        while (!stopping) {
            boost::system::error_code ec;
            tcp::socket socket(io);
            acceptor.accept(socket, ec);
            if (ec || stopping) return;
            socket.set_option(tcp::no_delay(true), ec);
            connections.push_back({std::move(socket), {}});
            auto& c = connections.back();
            c.serving = std::thread([this, &c] { serve(c.socket); });
        }
    }

    void serve(tcp::socket& socket)
    try {
        boost::beast::flat_buffer buffer;
        while (true) {
            http::request_parser<http::string_body> parser;
            parser.body_limit(boost::none);
            boost::system::error_code ec;
            http::read(socket, buffer, parser, ec);
            if (ec) return;
            const auto& request = parser.get();
            bool right = false;
            for (const auto* name : {"authorization", "x-api-key", "x-goog-api-key", "api-key"}) {
                const auto value = field(request, name);
                right = right || value == key || value == "Bearer " + key;
            }
            const bool needs_key = field(request, "x-corpus-free").empty();
            if (!right && needs_key)
                send_answer(socket, {.status = 401, .fields = {}, .body = "no real key", .sizes = {}});
            else
                send_answer(socket, find(number(field(request, "x-corpus-case")),
                                         number(field(request, "x-corpus-plan"))));
        }
    } catch (const std::exception&) {
        return;  // the proxy hung up
    }

    std::string key;
    find_answer find;
    asio::io_context io;
    tcp::acceptor acceptor;
    std::atomic<bool> stopping = false;
    std::list<connection> connections;  ///< of the accepting thread until it has ended
    std::thread accepting;
};

recorded_provider::recorded_provider(std::string key, find_answer find)
    : impl_(std::make_unique<impl>(std::move(key), std::move(find)))
{
}

recorded_provider::~recorded_provider() = default;

std::uint16_t recorded_provider::port() const noexcept
{
    return impl_->acceptor.local_endpoint().port();
}

}  // namespace keyhole::corpus
