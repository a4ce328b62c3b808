#include "proxy/cli/admin_client.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include <stdexcept>

namespace keyhole::proxy::cli {

namespace asio = boost::asio;
namespace http = boost::beast::http;

std::string encode(std::string_view text)
{
    constexpr std::string_view hex = "0123456789ABCDEF";
    std::string out;
    for (const char c : text) {
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                           c == '-' || c == '_' || c == '.' || c == '~';
        if (plain)
            out += c;
        else {
            const auto u = static_cast<unsigned char>(c);
            out += '%';
            out += hex[u >> 4U];
            out += hex[u & 15U];
        }
    }
    return out;
}

nlohmann::json admin_client::call(std::string_view method, const std::string& target,
                                  const std::string& body) const
{
    asio::io_context io;
    asio::local::stream_protocol::socket socket(io);
    boost::system::error_code ec;
    if (socket_.size() > 107)
        throw std::runtime_error(socket_ + ": the path of a unix socket may have 107 bytes");
    socket.connect(asio::local::stream_protocol::endpoint(socket_), ec);
    if (ec == boost::system::errc::permission_denied)
        throw std::runtime_error(
            socket_ + ": permission denied (run this as root or as the user that keyhole runs as)");
    if (ec)
        throw std::runtime_error(
            socket_ + ": " + ec.message() +
            " (is `keyhole serve` running? --admin or KEYHOLE_ADMIN_SOCKET names another socket)");
    http::request<http::string_body> request;
    request.method_string(boost::beast::string_view(method.data(), method.size()));
    request.target(target);
    request.version(11);
    request.set(http::field::host, "keyhole");
    request.set(http::field::content_type, "application/json");
    request.keep_alive(false);
    request.body() = body;
    request.prepare_payload();
    http::write(socket, request);
    boost::beast::flat_buffer buffer;
    http::response_parser<http::string_body> parser;
    parser.body_limit(std::uint64_t{1} << 31U);
    http::read(socket, buffer, parser, ec);
    if (ec) throw std::runtime_error(socket_ + ": the proxy did not answer: " + ec.message());
    const auto& answer = parser.get();
    auto out = nlohmann::json::parse(answer.body(), nullptr, false);
    if (answer.result_int() >= 300) {
        const auto status = std::to_string(answer.result_int());
        throw std::runtime_error(out.is_object() && out.contains("error") ? out["error"].get<std::string>()
                                                                          : "the proxy answered " + status);
    }
    return out;
}

}  // namespace keyhole::proxy::cli
