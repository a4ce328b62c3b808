// The relay: one thread, one epoll. Accepted TCP connections are handed over to the proxy where it takes them
// (relay_handoff.cpp); otherwise opaque bytes go both ways between them and the proxy's unix socket.
//
//   - NOTHING_WAITS: what is read is written in the same turn. Nothing is held but what the other side had no
//   room for, and while something
//     is held its source is not read: back-pressure reaches the sender through the kernel's own buffers.
//   - Half-closes pass in both directions and start no timer. An agent that has gone is told apart from one
//   that only finished sending,
//     and then the proxy sees a hang-up at once.
//   - Bytes of a peer never end the process. Errors of the operating system pause accepting and are retried.
#pragma once

#include "bridge/agent_side.hpp"
#include "bridge/channel.hpp"
#include "bridge/connection.hpp"
#include "bridge/options.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <sys/epoll.h>
#include <vector>

namespace keyhole::bridge {

/// An epoll registration: `tag` (0 to 3) tells what `about` is.
::epoll_event make_event(std::uint32_t events, void* about, std::uintptr_t tag) noexcept;
constexpr std::uintptr_t tag_other = 3;  ///< a channel, or the signals

class relay {
public:
    /// `preface` is written first on each connection to the proxy (empty: nothing), `greeting` on a hand-off
    /// channel; both stay where they are, in locked memory.
    relay(const options& settings, std::vector<sys::unique_fd> listeners, std::string_view preface,
          std::string_view greeting);
    ~relay();
    relay(const relay&) = delete;
    relay& operator=(const relay&) = delete;

    /// Registers everything; connections are served from the first run() on. False with errno set.
    bool open();
    /// Until it is drained. The process's exit code.
    int run();

private:
    enum class outcome { open, closed };
    enum class handing { done, later, away, relay_it };
    enum class side : std::uintptr_t { agent = 0, proxy = 1 };

    void on_signal();
    void on_accept(const sys::unique_fd& listener);
    void on_event(connection& c, side s, std::uint32_t events);
    void on_timers();
    int next_timeout() const;

    void accepted(int fd, bool is_last = false);
    /// Where no descriptor is left for a connection, the one that was kept back takes it, and says so.
    bool accept_on_reserve(const sys::unique_fd& listener);
    void start_relaying(connection& c, sys::unique_fd proxy);
    /// Says it whatever was said before: a request is under way.
    void refuse(connection& c, std::string_view answer);
    /// There is no proxy for it. A connection that has had answers and asks nothing is told nothing, which
    /// would be taken for the next request's answer.
    void turn_away(connection& c, std::string_view answer);
    void try_waiting();
    void pause_accepting(int delay_ms);
    void watch_listeners(bool wanted);
    void start_draining();

    // Hand-off.
    handing hand_over(connection& c);
    handing greet();
    handing pass(connection& c);
    void wait_for_channel();
    void on_channel(channel& ch, std::uint32_t events);
    void on_message(channel& ch, const proxy_message& m);
    void on_greeting_limit(std::int64_t now);
    void relay_for(std::int64_t ms, std::string_view why);
    void retire(channel& ch);
    /// The proxy serves nothing of it any more: nobody but us holds its connections.
    void lose(channel& ch);
    void wait_again(connection& c);
    void take_back(connection& c);
    /// From here on another proxy reads and writes.
    static void note_progress(connection& c);
    void bury(channel& ch);

    void work(connection& c);
    outcome pump(connection& c, flow& f, endpoint& from, endpoint& to);
    outcome write_held(connection& c, flow& f, endpoint& to);
    outcome on_read_error(connection& c, const endpoint& from, int error);
    outcome on_write_error(connection& c, flow& f, const endpoint& to);
    void discard(connection& c);
    static bool may_be_gone(const connection& c);
    static bool answer_missing(const connection& c);
    static bool answer_broken_off(const connection& c);
    static bool may_begin_anew(const connection& c);
    void begin_anew(connection& c);
    /// Only between two requests.
    bool may_rest(const connection& c) const;
    void rest(connection& c);
    void watch_agent(connection& c);
    void look_at_watched(std::int64_t now);
    void linger(connection& c);
    /// The agent is reset (RST), the proxy's socket closed.
    void abort(connection& c);
    void close(connection& c);

    void move_to(connection& c, phase p);
    connection_list* list_of(phase p);
    void ask_for_room(connection& c, endpoint& e, side s, bool wanted);
    bool watch(connection& c, int fd, side s);
    bool watch_agent_events(connection& c);
    void continue_later(connection& c);
    void log_proxy_state(bool reachable, int error);

    options settings_;
    std::string_view preface_;
    std::string_view greeting_;
    std::vector<sys::unique_fd> listeners_;
    sys::unique_fd epoll_;
    sys::unique_fd signals_;
    sys::unique_fd reserve_;
    agent_side agents_;
    buffer_pool buffers_;
    std::unique_ptr<char[]> scratch_;

    connection_list waiting_;
    connection_list handed_;
    connection_list relaying_;
    connection_list resting_;
    connection_list watched_;
    connection_list lingering_;
    connection* with_more_ = nullptr;
    connection* dead_ = nullptr;

    channel* channel_ = nullptr;   ///< the one that new connections go through
    channel* channels_ = nullptr;  ///< all of them
    channel* dead_channels_ = nullptr;
    std::vector<connection*> by_number_;  ///< what was handed over, by its descriptor
    std::int64_t relay_until_ms_ = 0;     ///< no hand-off before
    std::uint64_t handed_total_ = 0;
    int short_lived_ = 0;  ///< channels in a row that were retired soon

    std::uint32_t open_ = 0;           ///< all of them
    std::uint32_t lingering_now_ = 0;  ///< of these, the ones that no longer count as connections
    std::uint64_t accepted_total_ = 0;
    std::uint64_t refused_total_ = 0;
    bool accepting_ = true;
    bool draining_ = false;
    bool stop_ = false;
    bool failed_ = false;
    bool proxy_was_reachable_ = true;
    int accept_delay_ms_ = 0;
    int connect_delay_ms_ = 0;
    int last_connect_error_ = 0;
    std::uint32_t random_ = 0;
    std::int64_t accept_again_ms_ = 0;
    std::int64_t connect_again_ms_ = 0;
    std::int64_t look_ms_ = 0;
    std::int64_t drain_until_ms_ = 0;
    std::int64_t logged_ms_ = 0;
};

}  // namespace keyhole::bridge
