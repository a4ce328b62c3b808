#include "agent.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>

namespace keyhole::corpus {

namespace http = boost::beast::http;
using boost::asio::local::stream_protocol;

static answer failed(std::string problem)
{
    answer out;
    out.problem = std::move(problem);
    return out;
}

answer ask(const std::string& socket, const std::string& token, const journey& j,
           const std::vector<std::pair<std::string, std::string>>& extra, std::chrono::seconds patience)
{
    answer out;
    boost::asio::io_context io;
    stream_protocol::socket connection(io);
    boost::system::error_code ec;
    const auto done = [&](boost::system::error_code result, auto...) { ec = result; };
    // One step at a time, and none for ever. False: the time is up, or it failed.
    const auto until = std::chrono::steady_clock::now() + patience;
    const auto finished = [&] {
        io.restart();
        io.run_until(until);
        const bool late = !io.stopped();
        if (late) {
            boost::system::error_code ignored;
            connection.close(ignored);
            io.run();
            ec = boost::asio::error::timed_out;
        }
        return !ec;
    };
    connection.async_connect(stream_protocol::endpoint(socket), done);
    if (!finished()) return failed("cannot connect: " + ec.message());

    http::request<http::string_body> request(http::string_to_verb(j.method), j.path, 11);
    request.set(http::field::host, "localhost:8080");
    request.set(http::field::authorization, "Bearer " + token);
    for (const auto* fields : {&j.fields, &extra})
        for (const auto& [name, value] : *fields)
            request.set(name, value);
    request.body() = j.body;
    request.prepare_payload();
    http::async_write(connection, request, done);
    if (!finished()) return failed("cannot ask: " + ec.message());

    boost::beast::flat_buffer buffer;
    http::response_parser<http::string_body> parser;
    parser.body_limit(boost::none);
    http::async_read(connection, buffer, parser, done);
    const bool whole = finished();
    if (ec == boost::asio::error::timed_out)
        return failed("no whole answer within " + std::to_string(patience.count()) + " s (" +
                      std::to_string(parser.is_header_done() ? parser.get().body().size() : 0) +
                      " bytes of a body came)");
    if (!parser.is_header_done()) return failed("no answer: " + ec.message());
    const auto& response = parser.get();
    const auto field = [&](const char* name) {
        const auto at = response.find(name);
        return at == response.end() ? std::string() : std::string(at->value());
    };
    out.status = static_cast<int>(response.result_int());
    out.request_id = field("x-keyhole-request-id");
    out.content_type = field("content-type");
    out.content_encoding = field("content-encoding");
    out.body = response.body();
    out.whole = whole && parser.is_done();
    return out;
}

}  // namespace keyhole::corpus
