#include "proxy/cli/admin_client.hpp"

#include "config/secret.hpp"
#include "proxy/net/task.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include <exception>
#include <stdexcept>
#include <sys/un.h>

namespace keyhole::proxy::cli {
namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;
using client_stream = beast::basic_stream<asio::local::stream_protocol, executor>;

constexpr auto patience = std::chrono::seconds(60);
constexpr std::uint64_t largest_answer = std::uint64_t{1} << 31U;
constexpr std::size_t longest_path = sizeof(sockaddr_un::sun_path) - 1;

std::string remedy_for(error_code ec)
{
    using boost::system::errc::errc_t;
    if (ec == errc_t::permission_denied)
        return "permission denied (run this as root or as the user that keyhole runs as)";
    if (ec == errc_t::no_such_file_or_directory)
        return "keyhole is not running, or its admin socket is elsewhere (start `keyhole serve`, or name the "
               "socket "
               "with --admin or KEYHOLE_ADMIN_SOCKET)";
    if (ec == errc_t::connection_refused)
        return "nobody listens there: keyhole has stopped (start `keyhole serve`)";
    return ec.message() + " (is this keyhole's admin socket? --admin or KEYHOLE_ADMIN_SOCKET names another)";
}

struct exchange_result {
    std::string problem;  ///< empty: answered
    unsigned status = 0;
    std::string body;
};

task<> exchange(const std::string& path, http::request<http::string_body>& request, exchange_result& out)
{
    const executor here = co_await asio::this_coro::executor;
    client_stream stream(here);
    const asio::local::stream_protocol::endpoint where(path);
    stream.expires_after(patience);
    auto [refused] = co_await stream.async_connect(where, as_result);
    if (refused) {
        out.problem = remedy_for(refused);
        co_return;
    }
    auto [unsent, sent] = co_await http::async_write(stream, request, as_result);
    beast::flat_buffer buffer;
    http::response_parser<http::string_body> parser;
    parser.body_limit(largest_answer);
    // Even if not everything was taken: a refusal may be there.
    auto [unread, received] = co_await http::async_read(stream, buffer, parser, as_result);
    if (unread) {
        out.problem = "the proxy did not answer: " + (unsent ? unsent : unread).message();
        co_return;
    }
    out.status = parser.get().result_int();
    out.body = std::move(parser.get().body());
}

}  // namespace

std::string encode(std::string_view text)
{
    constexpr std::string_view hex = "0123456789ABCDEF";
    std::string out;
    for (const char c : text) {
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                           c == '-' || c == '_' || c == '.' || c == '~';
        const auto byte = static_cast<unsigned char>(c);
        if (plain)
            out += c;
        else
            out.append({'%', hex[byte >> 4U], hex[byte & 15U]});
    }
    return out;
}

nlohmann::json admin_client::post(const std::string& target, const nlohmann::json& body) const
{
    return call("POST", target, body.dump());
}

nlohmann::json admin_client::put(const std::string& target, const nlohmann::json& body) const
{
    return call("PUT", target, body.dump());
}

nlohmann::json admin_client::call(std::string_view method, const std::string& target, std::string body) const
{
    if (socket_.empty() || socket_.size() > longest_path)
        throw std::runtime_error("\"" + socket_ + "\" cannot be a unix socket: its path has 1 to " +
                                 std::to_string(longest_path) + " bytes");
    http::request<http::string_body> request;
    request.method_string({method.data(), method.size()});
    request.target(target);
    request.version(11);
    request.set(http::field::host, "keyhole");
    request.set(http::field::content_type, "application/json");
    request.keep_alive(false);
    request.body() = std::move(body);
    request.prepare_payload();

    asio::io_context io;
    exchange_result result;
    std::exception_ptr thrown;
    asio::co_spawn(io.get_executor(), exchange(socket_, request, result),
                   [&](std::exception_ptr e) { thrown = std::move(e); });
    io.run();
    config::wipe(request.body().data(), request.body().size());
    if (thrown) std::rethrow_exception(thrown);
    if (!result.problem.empty()) throw std::runtime_error(socket_ + ": " + result.problem);

    auto answer = nlohmann::json::parse(result.body, nullptr, false);
    config::wipe(result.body.data(), result.body.size());
    if (result.status >= 200 && result.status < 300 && !answer.is_discarded()) return answer;
    const bool told = answer.is_object() && answer.contains("error") && answer.at("error").is_string();
    throw std::runtime_error(told ? answer.at("error").get<std::string>()
                                  : socket_ + ": answered " + std::to_string(result.status) +
                                        " without a reason: is this keyhole's admin socket?");
}

}  // namespace keyhole::proxy::cli
