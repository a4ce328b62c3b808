#include "proxy/connection.hpp"

#include "proxy/exchange.hpp"
#include "proxy/http/preface.hpp"
#include "proxy/net/at_once.hpp"
#include "proxy/upstream/link.hpp"

#include <boost/asio/write.hpp>

#include <array>
#include <cstring>
#include <sys/socket.h>
#include <utility>

namespace keyhole::proxy {

/// As many small requests as one large read is worth.
static constexpr unsigned pipelined_a_turn = 8;

connection::connection(worker& home, newcomer who, holder_key holder)
    : home_(home)
    , handed_(std::move(who.handed))
    , socket_(std::move(who.socket))
    , bound_(std::move(who.bound))
    , tcp_(who.tcp)
    , limit_(home.io().get_executor(), [this](waiting_for what) { on_expiry(what); })
    , self_(std::make_shared<connection*>(this))
{
    place_ = home_.live_.insert(home_.live_.end(), this);
    home_.crowd_.put(in_crowd_, holder);
    home_.shared().agent_connections.fetch_add(1, std::memory_order_relaxed);
    draining_ = home_.draining_;
}

connection::~connection()
{
    home_.crowd_.take_out(in_crowd_);
    home_.live_.erase(place_);
    home_.shared().agent_connections.fetch_sub(1, std::memory_order_relaxed);
    --home_.present_;  // worker::begin() counted it
    if (cut_ == cut_reason::crowded) --home_.leaving_;
    home_.return_buffer(std::move(buffer_));
    config::wipe(vouched_.data(), vouched_.size());
    if (handed_)
        let_go();
    else if (abrupt_)
        close_abruptly();
}

task<> connection::serve()
{
    if (!tcp_)
        arm_hangup_watch();  // a unix socket tells a full close from a half close, so one watch serves all
                             // requests
    const auto opened = co_await read_preface();
    if (opened == opening::channel) co_await serve_channel(*this);
    if (opened == opening::agent) co_await serve_requests();
    limit_.rest();
    if (handed_) co_await part();
}

task<> connection::serve_requests()
{
    bool again = true;
    while (again && cut_ == cut_reason::none) {
        const bool ready = co_await wait_for_request();
        if (!ready) break;
        in_exchange_ = true;
        const auto verdict = co_await run_exchange(*this);
        in_exchange_ = false;
        home_.crowd_.refresh(in_crowd_);
        set_session(nullptr);
        set_upstream(nullptr);
        on_hangup_ = nullptr;
        abrupt_ = verdict == exchange_verdict::broken_off;
        again = verdict == exchange_verdict::keep_alive && !draining_ && !gone_;
        // What vouched for the agent within the connection, the next proxy would not know.
        if (verdict == exchange_verdict::keep_alive && begin_ == end_ && vouched_.empty()) untouched_ = true;
        if (again && cut_ == cut_reason::revoked) {
            // It came when the answer was whole already: the next request is told why it is refused.
            cut_ = cut_reason::none;
            if (!tcp_) arm_hangup_watch();
        }
        if (verdict == exchange_verdict::linger && !draining_ && !gone_ && cut_ == cut_reason::none)
            co_await linger();
    }
}

task<connection::opening> connection::read_preface()
{
    if (handed_ && !handed_.link().token().empty()) co_return opening::agent;  // the channel had it
    const auto& bounds = home_.rt()->settings->bounds;
    limit_.expect(waiting_for::next_request, seconds_of(bounds.keepalive_timeout));
    while (true) {
        if (end_ == begin_) {
            const bool readable = co_await wait_to_read();
            if (!readable) co_return opening::failed;
        } else {
            const auto p = http::read_preface(unread());
            if (p.is == http::preface::verdict::absent) co_return opening::agent;
            if (p.is == http::preface::verdict::malformed) co_return opening::failed;
            if (p.is != http::preface::verdict::need_more) {
                vouched_.assign(p.token);
                config::wipe(buffer_.get() + begin_, p.bytes);
                consume(p.bytes);
                if (p.is == http::preface::verdict::ok) co_return opening::agent;
                co_return tcp_ ? opening::failed : opening::channel;
            }
            limit_.expect(waiting_for::head, seconds_of(bounds.head_timeout));
        }
        const bool more = co_await read_more();
        if (!more) co_return opening::failed;
    }
}

task<bool> connection::wait_for_request()
{
    if (end_ != begin_) {
        // Pipelined: the others have their turn between them.
        if (++pipelined_ % pipelined_a_turn != 0) co_return true;
        co_await let_others(home_.io().get_executor());
        co_return cut_ == cut_reason::none;
    }
    if (draining_) co_return false;
    rest_buffer();
    limit_.expect(waiting_for::next_request, seconds_of(home_.rt()->settings->bounds.keepalive_timeout));
    const bool readable = co_await wait_to_read();
    if (!readable) co_return false;
    const bool more = co_await read_more();
    co_return more;
}

/// Without a buffer: thousands of connections may wait.
task<bool> connection::wait_to_read()
{
    reads_in_a_row_ = 0;
    bytes_in_a_row_ = 0;
    auto [ec] = co_await socket_.async_wait(agent_socket::wait_read, as_result);
    co_return !ec && cut_ == cut_reason::none;
}

/// A refusal was written while its request's body is still on the way. A close with unread bytes resets the
/// connection, and the agent sees the reset instead of the refusal, and repeats the request. So what comes is
/// thrown away, as long as a head may take and as much as a body may have.
task<> connection::linger()
{
    const auto& bounds = home_.rt()->settings->bounds;
    error_code ignored;
    socket_.shutdown(agent_socket::shutdown_send, ignored);
    if (!buffer_) buffer_ = home_.lend_buffer();
    limit_.expect(waiting_for::body, seconds_of(bounds.head_timeout));
    std::size_t left = bounds.max_body_bytes;
    while (left != 0) {
        const std::size_t n = co_await read_into(buffer_.get(), worker::buffer_size);
        if (n == 0) break;
        left -= std::min(left, n);
    }
}

task<bool> connection::read_more()
{
    if (!buffer_) buffer_ = home_.lend_buffer();
    if (begin_ == end_)
        begin_ = end_ = 0;
    else if (end_ == worker::buffer_size && begin_ != 0) {
        std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
        end_ -= begin_;
        begin_ = 0;
    }
    const std::size_t n = co_await read_into(buffer_.get() + end_, worker::buffer_size - end_);
    end_ += n;
    co_return n != 0;
}

task<std::size_t> connection::read_into(char* into, std::size_t size)
{
    error_code ec;
    std::size_t n = 0;
    if (reads_in_a_row_++ == most_at_once || bytes_in_a_row_ >= bytes_at_once) {
        reads_in_a_row_ = 0;
        bytes_in_a_row_ = 0;
        const bool free = cut_ == cut_reason::none;
        co_await let_others(home_.io().get_executor());
        if (free && cut_ != cut_reason::none) co_return 0;  // it found no wait to end
    }
    size = std::min(size, bytes_at_once);
    // Nothing is cut, or what was cancelled would be read all the same.
    if (cut_ == cut_reason::none) n = read_at_once(socket_.native_handle(), into, size, ec);
    bytes_in_a_row_ += n;
    if (n == 0 && !ec) {
        reads_in_a_row_ = 0;
        bytes_in_a_row_ = 0;
        auto [error, got] = co_await socket_.async_read_some(asio::buffer(into, size), as_result);
        ec = error;
        n = got;
    }
    if (ec != asio::error::operation_aborted) untouched_ = false;
    read_ += n;
    // The end of what the agent sends is not the end of what it reads.
    if (ec && ec != asio::error::operation_aborted && ec != asio::error::eof) gone_ = true;
    co_return ec ? 0 : n;
}

task<bool> connection::write(std::string_view first, std::string_view second)
{
    pieces both{asio::buffer(first), asio::buffer(second)};
    write_at_once(both);
    const bool written = co_await write_rest(both);
    co_return written;
}

void connection::write_at_once(pieces& of) noexcept
{
    if (gone_) return;
    const std::size_t n = proxy::write_at_once(socket_.native_handle(), of);
    written_ += n;
    drop_front(of, n);
}

task<bool> connection::write_rest(pieces& of)
{
    if (gone_) co_return false;
    if (asio::buffer_size(of) == 0) co_return true;
    if (cut_ == cut_reason::shutdown) co_return false;  // there is no time to wait for an agent
    auto [ec, n] = co_await asio::async_write(socket_, of, as_result);
    written_ += n;
    if (ec && ec != asio::error::operation_aborted) gone_ = true;
    co_return !ec;
}

task<bool> connection::write_interim(std::string_view text)
{
    if (handed_) handed_.nothing_begun_at(written_ + text.size());
    const bool written = co_await write(text);
    co_return written;
}

void connection::foretell_rest(std::size_t bytes) noexcept
{
    if (handed_ && vouched_.empty()) handed_.will_rest_at(read_ - (end_ - begin_), written_ + bytes);
}

void connection::rest_buffer() noexcept
{
    if (begin_ != end_) return;
    home_.return_buffer(std::move(buffer_));
    begin_ = end_ = 0;
}

void connection::arm_hangup_watch()
{
    auto noticed = [weak = std::weak_ptr<connection*>(self_)](error_code ec) {
        const auto self = weak.lock();
        if (self && !ec) (*self)->note_hangup();
    };
    socket_.async_wait(agent_socket::wait_error, std::move(noticed));
}

void connection::watch_for_hangup()
{
    if (!tcp_ || end_ != begin_) return;  // pipelined bytes are there: nothing to learn from readability
    watching_ = true;
    auto readable = [weak = std::weak_ptr<connection*>(self_)](error_code ec) {
        const auto self = weak.lock();
        if (!self || ec || !(*self)->watching_) return;
        (*self)->watching_ = false;
        char byte = 0;
        const auto n = ::recv((*self)->socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        if (n == 0 && (*self)->handed_ && (*self)->handed_.ask_to_watch())
            (*self)->arm_hangup_watch();  // it only finished sending, as far as anybody knows
        else if (n == 0 || (n < 0 && errno != EAGAIN))
            (*self)->note_hangup();
    };
    socket_.async_wait(agent_socket::wait_read, std::move(readable));
}

void connection::stop_watching() noexcept
{
    if (!watching_) return;
    watching_ = false;
    error_code ignored;
    socket_.cancel(ignored);
}

void connection::note_hangup()
{
    if (std::exchange(gone_, true)) return;
    if (!in_exchange_) return;
    if (on_hangup_) {
        const auto f = std::exchange(on_hangup_, nullptr);
        f();
    } else if (connecting_ != nullptr)
        close_upstream();  // nothing was forwarded yet: nobody would read the answer
}

void connection::cut_now(cut_reason why) noexcept
{
    if (cut_ == cut_reason::none) cut_ = why;
    close_upstream();
    error_code ignored;
    if (!in_exchange_ || why == cut_reason::shutdown || why == cut_reason::revoked ||
        why == cut_reason::crowded)
        socket_.cancel(ignored);
}

void connection::set_session(const session* s) noexcept
{
    current_ = s;
    // Known by its token: it is not one of the many of its user any more.
    if (s != nullptr && !handed_ && !bound_ && cut_ == cut_reason::none)
        home_.crowd_.put(in_crowd_, holder_key{holder_key::sort::session, number_of(s)});
}

void connection::becomes_channel()
{
    home_.crowd_.put(in_crowd_, holder_key{holder_key::sort::channels});
}

void connection::begin_drain() noexcept
{
    draining_ = true;
    error_code ignored;
    if (!in_exchange_ && begin_ == end_) socket_.cancel(ignored);
}

void connection::on_expiry(waiting_for what)
{
    expired_ = what;
    switch (what) {
    case waiting_for::connect:
    case waiting_for::first_byte:
    case waiting_for::answer:
    case waiting_for::drain:
        close_upstream();
        break;
    case waiting_for::agent_to_read:
        gone_ = true;
        [[fallthrough]];
    default: {
        error_code ignored;
        socket_.cancel(ignored);
    }
    }
}

void connection::close_upstream() noexcept
{
    if (upstream_ != nullptr)
        upstream_->close();
    else if (connecting_ != nullptr)
        connecting_->give_up();
}

/// Until what was written has arrived: only then can a connection that is also somebody else's be closed
/// without a wait.
task<> connection::part()
{
    if (abrupt_ || (untouched_ && proxy_ends())) co_return;
    error_code ignored;
    socket_.shutdown(agent_socket::shutdown_send, ignored);
    timer pause(home_.io().get_executor());
    const auto until = clock::now() + seconds_of(home_.rt()->settings->bounds.write_timeout);
    auto delay = std::chrono::milliseconds(1);
    while (clock::now() < until) {
        parted_ = all_delivered(socket_.native_handle());
        if (parted_ || cut_ != cut_reason::none) break;
        pause.expires_after(delay);
        auto [ec] = co_await pause.async_wait(as_result);
        if (ec) break;
        delay = std::min(delay * 2, std::chrono::milliseconds(100));
    }
}

void connection::let_go() noexcept
{
    error_code ignored;
    const int fd =
        socket_.release(ignored);  // leaves the reactor: closing alone would not, somebody has a copy
    if (fd < 0) return;
    if (untouched_ && proxy_ends()) {
        handed_.ends_as(handoff_word::untouched);
        close_shared(fd);
    } else if (parted_)
        close_shared(fd);
    else
        reset_shared(fd);
}

void connection::close_abruptly() noexcept
{
    // A reset rather than an end: a clean end of a cut answer is taken for success by every SDK.
    if (!socket_.is_open()) return;
    const ::linger reset{1, 0};
    ::setsockopt(socket_.native_handle(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    error_code ignored;
    socket_.close(ignored);
}

}  // namespace keyhole::proxy
