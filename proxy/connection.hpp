// One agent connection: the preface, then a keep-alive loop of exchanges. Lives in its coroutine's frame on
// its worker.
#pragma once

#include "proxy/net/deadline.hpp"
#include "proxy/net/task.hpp"
#include "proxy/session.hpp"
#include "proxy/worker.hpp"

#include <boost/asio/buffer.hpp>

#include <array>
#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>

namespace keyhole::proxy {

namespace upstream {
class link;
}

/// Why an exchange was ended from outside.
enum class cut_reason : unsigned char { none, agent_gone, revoked, shutdown, timed_out, crowded };

class connection {
public:
    connection(worker& home, newcomer who, holder_key holder);
    ~connection();
    connection(const connection&) = delete;
    connection& operator=(const connection&) = delete;

    task<> serve();

    // For the exchange that runs on it.
    worker& home() noexcept { return home_; }
    agent_socket& socket() noexcept { return socket_; }
    deadline& limit() noexcept { return limit_; }
    const session_ptr& bound() const noexcept { return bound_; }
    /// The bridge's word: in this connection's preface, or in that of the channel it was handed over through.
    std::string_view vouched_token() const noexcept { return handed_ ? handed_.link().token() : vouched_; }

    /// Bytes that were read and not used yet.
    std::string_view unread() const noexcept { return {buffer_.get() + begin_, end_ - begin_}; }
    void consume(std::size_t n) noexcept { begin_ += n; }
    /// Reads more into the buffer (the consumed part is reused). False: the agent is gone, or the deadline
    /// passed.
    task<bool> read_more();
    /// Reads straight into `into`, for large bodies. 0: gone.
    task<std::size_t> read_into(char* into, std::size_t size);
    /// Gives the buffer back if nothing is in it: who waits for long holds none.
    void rest_buffer() noexcept;
    /// Writes both pieces, as one where the kernel takes it; false: the agent is gone.
    task<bool> write(std::string_view first, std::string_view second = {});
    /// The same in its two halves: what needs no wait (and no coroutine), which takes off the pieces what the
    /// kernel took, and the rest.
    using pieces = std::array<asio::const_buffer, 2>;
    void write_at_once(pieces& of) noexcept;
    task<bool> write_rest(pieces& of);

    /// The next write is an answer's last, and its head says that the connection stays.
    void foretell_rest(std::size_t bytes) noexcept;
    /// An interim answer (100 Continue); the answer itself has not begun.
    task<bool> write_interim(std::string_view text);

    /// Begins to watch for the agent hanging up while nothing is read from it, and stops.
    void watch_for_hangup();
    void stop_watching() noexcept;
    bool agent_gone() const noexcept { return gone_; }
    cut_reason cut() const noexcept { return cut_; }
    waiting_for expired() const noexcept { return expired_; }
    /// Ends every wait of the running exchange, for `why` (the first reason wins). Worker's thread.
    void cut_now(cut_reason why) noexcept;
    /// The provider connection that the deadline, a hang-up or a revocation must be able to end.
    void set_upstream(upstream::link* l) noexcept { upstream_ = l; }
    /// While a connection is being made, where its address appears.
    void watch_connecting(upstream::attempt* being_made) noexcept { connecting_ = being_made; }
    /// What to do when the agent hangs up mid-exchange: called once, on the worker's thread.
    void set_on_hangup(std::function<void()> f) { on_hangup_ = std::move(f); }
    /// The session of the running exchange, so that a revocation finds it.
    void set_session(const session* s) noexcept;
    const session* current_session() const noexcept { return current_; }
    /// Nobody's request is under way on it: idle, or a head that is not whole yet.
    bool may_be_crowded_out() const noexcept
    {
        return cut_ == cut_reason::none && (!in_exchange_ || current_ == nullptr);
    }
    /// From here on it is a bridge's channel.
    void becomes_channel();
    void begin_drain() noexcept;
    bool proxy_ends() const noexcept { return draining_ || cut_ == cut_reason::shutdown; }
    bool draining() const noexcept { return draining_; }

private:
    enum class opening { failed, agent, channel };
    task<opening> read_preface();
    task<> serve_requests();
    task<> part();
    void let_go() noexcept;
    task<bool> wait_for_request();
    task<bool> wait_to_read();
    task<> linger();
    void on_expiry(waiting_for what);
    void note_hangup();
    void arm_hangup_watch();
    void close_upstream() noexcept;
    void close_abruptly() noexcept;

    worker& home_;
    handed_over handed_;  ///< goes after the socket: what it says frees the connection for others
    agent_socket socket_;
    session_ptr bound_;
    bool tcp_;
    std::string vouched_;  ///< token from the preface; wiped at the end
    std::unique_ptr<char[]> buffer_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
    unsigned pipelined_ = 0;          ///< requests that were there already when the one before was answered
    unsigned reads_in_a_row_ = 0;     ///< that did not have to wait
    std::size_t bytes_in_a_row_ = 0;  ///< of these
    deadline limit_;
    upstream::link* upstream_ = nullptr;
    upstream::attempt* connecting_ = nullptr;
    std::function<void()> on_hangup_;
    const session* current_ = nullptr;
    std::shared_ptr<connection*> self_;  ///< what queued handlers hold weakly
    std::list<connection*>::iterator place_;
    crowd::place in_crowd_{*this};
    cut_reason cut_ = cut_reason::none;
    waiting_for expired_ = waiting_for::nothing;
    bool gone_ = false;
    bool draining_ = false;
    bool in_exchange_ = false;
    bool watching_ = false;
    bool untouched_ = true;   ///< nothing was read from it, or nothing but requests that were answered
    std::uint64_t read_ = 0;  ///< bytes in all
    std::uint64_t written_ = 0;
    bool parted_ = false;  ///< what was written has arrived, and its end
    bool abrupt_ = false;  ///< the answer broke off: the agent must not take it for whole
};

}  // namespace keyhole::proxy
