#include "proxy/control/http.hpp"

#include "proxy/control/api.hpp"
#include "proxy/net/peer.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include <memory>
#include <string>
#include <utility>

namespace keyhole::proxy {
namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;

constexpr std::uint64_t largest_body = 1024 * 1024;
constexpr std::uint32_t largest_head = 16 * 1024;
constexpr std::size_t largest_buffer = largest_head + 64 * 1024;
constexpr auto patience =
    std::chrono::seconds(15);  ///< for a request, from its first byte to its last; for an answer
constexpr auto idle_patience = std::chrono::seconds(60);

/// KEY_STAYS_HOME, TOKEN_STAYS_HOME: whatever memory a request stood in is wiped before it is freed.
template <class T>
struct wiping_allocator {
    using value_type = T;
    wiping_allocator() = default;
    template <class U>
    explicit(false) wiping_allocator(const wiping_allocator<U>&) noexcept
    {
    }
    T* allocate(std::size_t n) { return std::allocator<T>().allocate(n); }
    void deallocate(T* p, std::size_t n) noexcept
    {
        config::wipe(p, n * sizeof(T));
        std::allocator<T>().deallocate(p, n);
    }
    friend bool operator==(const wiping_allocator&, const wiping_allocator&) noexcept { return true; }
};

using wiped_body = http::basic_string_body<char, std::char_traits<char>, wiping_allocator<char>>;
using wiped_parser = http::request_parser<wiped_body, wiping_allocator<char>>;
using wiped_request = wiped_parser::value_type;
using wiped_buffer = beast::basic_flat_buffer<wiping_allocator<char>>;
using control_stream = beast::basic_stream<asio::generic::stream_protocol, executor>;

bool carries_token(const wiped_request& in, const config::secret_ptr& token)
{
    if (!token || in.count(http::field::authorization) != 1) return false;
    const beast::string_view sent = in[http::field::authorization];
    constexpr std::string_view scheme = "Bearer ";
    if (sent.size() < scheme.size() ||
        !beast::iequals(sent.substr(0, scheme.size()), {scheme.data(), scheme.size()}))
        return false;
    const std::string_view presented(sent.data() + scheme.size(), sent.size() - scheme.size());
    return config::equal_in_constant_time(presented, token->reveal());
}

/// Runs `work` on the readers' thread; the answer arrives here.
task<admin_answer> elsewhere(std::shared_ptr<control_room> room, executor here,
                             std::function<admin_answer()> work)
{
    auto initiate = [room, here, work = std::move(work)](auto handler) mutable {
        auto guard = asio::make_work_guard(here);
        auto job = [work = std::move(work), handler = std::move(handler),
                    guard = std::move(guard)]() mutable {
            admin_answer answer = work();
            auto deliver = [handler = std::move(handler), answer = std::move(answer)]() mutable {
                std::move(handler)(std::move(answer));
            };
            asio::post(guard.get_executor(), std::move(deliver));
        };
        asio::post(room->readers, std::move(job));
    };
    const asio::use_awaitable_t<executor> token;
    admin_answer answer =
        co_await asio::async_initiate<const asio::use_awaitable_t<executor>, void(admin_answer)>(
            std::move(initiate), token);
    co_return answer;
}

class control_connection {
public:
    control_connection(std::shared_ptr<control_room> room, agent_socket socket, control_door door)
        : room_(std::move(room))
        , door_(door)
        , trusted_(door == control_door::admin_socket && peer_is_administrator(socket.native_handle()))
        , stream_(std::move(socket))
        , buffer_(largest_buffer)
    {
    }

    task<> run()
    {
        bool again = true;
        while (again) {
            const bool begun = co_await wait_for_request();
            if (!begun) break;
            again = co_await one_request();
        }
        error_code ignored;
        stream_.socket().shutdown(asio::socket_base::shutdown_send, ignored);
    }

private:
    task<bool> wait_for_request()
    {
        if (buffer_.size() != 0) co_return true;
        // Nothing of the last request stays behind while the connection idles.
        buffer_.clear();
        buffer_.shrink_to_fit();
        stream_.expires_after(idle_patience);
        const auto space = buffer_.prepare(4096);
        auto [ec, n] = co_await stream_.async_read_some(space, as_result);
        buffer_.commit(n);
        co_return !ec && n != 0;
    }

    task<bool> one_request()
    {
        wiped_parser parser;
        parser.header_limit(largest_head);
        parser.body_limit(largest_body);
        stream_.expires_after(patience);
        auto [head_error, head_size] = co_await http::async_read_header(stream_, buffer_, parser, as_result);
        if (head_error) {
            const int status = status_for(head_error);
            if (status == 0) co_return false;
            admin_answer refusal = error_answer(status, sentence_for(status));
            co_await write(std::move(refusal), 11, false, false);
            co_return false;
        }
        const unsigned version = parser.get().version();
        const bool head_only = parser.get().method() == http::verb::head;
        if (parser.chunked()) {
            // Boost 1.81's chunk reader has an assertion that a peer's bytes can reach; every client knows
            // its length.
            admin_answer refusal = error_answer(411, "send a Content-Length instead of chunks");
            co_await write(std::move(refusal), version, head_only, false);
            co_return false;
        }
        if (beast::iequals(parser.get()[http::field::expect], "100-continue")) {
            static constexpr std::string_view go_on = "HTTP/1.1 100 Continue\r\n\r\n";
            const asio::const_buffer bytes(go_on.data(), go_on.size());
            auto [ec, n] = co_await asio::async_write(stream_, bytes, as_result);
            if (ec) co_return false;
        }
        auto [body_error, body_size] = co_await http::async_read(stream_, buffer_, parser, as_result);
        if (body_error) {
            const int status = status_for(body_error);
            if (status == 0) co_return false;
            admin_answer refusal = error_answer(status, sentence_for(status));
            co_await write(std::move(refusal), version, head_only, false);
            co_return false;
        }
        if (room_->closed) co_return false;
        const bool again = parser.get().keep_alive();
        stream_.expires_never();
        admin_answer answer = co_await answer_to(parser.get());
        const bool written = co_await write(std::move(answer), version, head_only, again);
        co_return written&& again && !room_->closed;
    }

    task<admin_answer> answer_to(wiped_request& in)
    {
        const std::string method(in.method_string());
        const beast::string_view raw = in.target();
        const std::string_view target(raw.data(), raw.size());
        if (door_ == control_door::metrics) co_return answer_metrics(room_->surface, method, target);
        if (door_ == control_door::admin_socket && !trusted_) {
            tell_of_stranger();
            co_return error_answer(403,
                                   "only root and the user that keyhole runs as may use the admin socket");
        }
        admin_request request;
        try {
            request = read_target(method, target);
        } catch (const admin_error& e) {
            co_return error_answer(e.status(), e.what());
        }
        request.trusted = trusted_;
        request.token_configured = room_->token != nullptr;
        request.authorized = carries_token(in, room_->token);
        request.body.assign(in.body().data(), in.body().size());
        admin_route way = route_admin(request);
        if (way.refusal.status == 401) tell_of_stranger();
        if (way.handler == nullptr) co_return std::move(way.refusal);
        if (!way.reads_books) co_return answer_admin(way.handler, room_->surface, request);
        auto shared = std::make_shared<admin_request>(std::move(request));
        std::function<admin_answer()> work = [room = room_, handler = way.handler, shared] {
            return answer_admin(handler, room->surface, *shared);
        };
        admin_answer answer = co_await elsewhere(room_, stream_.get_executor(), std::move(work));
        co_return answer;
    }

    /// Guessing at tokens shall not go unseen.
    void tell_of_stranger()
    {
        if (room_->surface.stranger) room_->surface.stranger(peer_in_words(stream_.socket().native_handle()));
    }

    task<bool> write(admin_answer answer, unsigned version, bool head_only, bool keep_alive)
    {
        http::response<http::string_body> out(static_cast<http::status>(answer.status), version);
        out.set(http::field::content_type, answer.type);
        out.set(http::field::cache_control, "no-store");
        out.set("x-content-type-options", "nosniff");
        if (!answer.allow.empty()) out.set(http::field::allow, answer.allow);
        if (answer.status == 401) out.set(http::field::www_authenticate, "Bearer realm=\"keyhole admin\"");
        out.keep_alive(keep_alive);
        out.body() = std::move(answer.body);
        out.prepare_payload();
        http::response_serializer<http::string_body> serializer(out);
        stream_.expires_after(patience);
        error_code failed;
        if (head_only) {
            auto [ec, n] = co_await http::async_write_header(stream_, serializer, as_result);
            failed = ec;
        } else {
            auto [ec, n] = co_await http::async_write(stream_, serializer, as_result);
            failed = ec;
        }
        config::wipe(out.body().data(), out.body().size());  // it may show a token, once
        co_return !failed;
    }

    /// 0: nobody is there to be told.
    static int status_for(error_code ec)
    {
        if (ec == http::error::body_limit) return 413;
        if (ec == http::error::header_limit || ec == http::error::buffer_overflow) return 431;
        if (ec == beast::error::timeout) return 0;
        if (ec == http::error::end_of_stream || ec == http::error::partial_message) return 0;
        return ec.category() == make_error_code(http::error::bad_method).category() ? 400 : 0;
    }

    static std::string_view sentence_for(int status)
    {
        if (status == 413) return "the body is larger than 1 MiB";
        if (status == 431) return "the head is larger than 16 KiB";
        return "this is not an HTTP/1.1 request";
    }

    std::shared_ptr<control_room> room_;
    control_door door_;
    bool trusted_;
    control_stream stream_;
    wiped_buffer buffer_;
};

struct counted {
    control_room& room;
    explicit counted(control_room& r) : room(r) { ++room.connections; }
    ~counted() { --room.connections; }
    counted(const counted&) = delete;
    counted& operator=(const counted&) = delete;
};

}  // namespace

task<> serve_control(std::shared_ptr<control_room> room, agent_socket socket, control_door door)
{
    const counted here(*room);
    control_connection connection(room, std::move(socket), door);
    co_await connection.run();
}

}  // namespace keyhole::proxy
