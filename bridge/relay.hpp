// The relay: one thread, one epoll, opaque bytes both ways between accepted TCP connections and the proxy's
// unix socket.
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
#include "bridge/connection.hpp"
#include "bridge/options.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace keyhole::bridge {

class relay {
public:
    /// `preface` is written first on each connection to the proxy (empty: nothing); it stays where it is, in
    /// locked memory.
    relay(const options& settings, std::vector<sys::unique_fd> listeners, std::string_view preface);
    ~relay();
    relay(const relay&) = delete;
    relay& operator=(const relay&) = delete;

    /// Registers everything; connections are served from the first run() on. False with errno set.
    bool open();
    /// Until it is drained. The process's exit code.
    int run();

private:
    enum class outcome { open, closed };
    enum class side : std::uintptr_t { agent = 0, proxy = 1 };

    void on_signal();
    void on_accept(const sys::unique_fd& listener);
    void on_event(connection& c, side s, std::uint32_t events);
    void on_timers();
    int next_timeout() const;

    void accepted(int fd);
    void start_relaying(connection& c, sys::unique_fd proxy);
    void refuse(connection& c, std::string_view answer);
    void try_waiting();
    void pause_accepting(int delay_ms);
    void watch_listeners(bool wanted);
    void start_draining();

    void work(connection& c);
    outcome pump(connection& c, flow& f, endpoint& from, endpoint& to);
    outcome write_held(connection& c, flow& f, endpoint& to);
    outcome on_read_error(connection& c, const endpoint& from, int error);
    outcome on_write_error(connection& c, flow& f, const endpoint& to);
    void discard(connection& c);
    static bool may_be_gone(const connection& c);
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
    void continue_later(connection& c);
    void log_proxy_state(bool reachable, int error);

    options settings_;
    std::string_view preface_;
    std::vector<sys::unique_fd> listeners_;
    sys::unique_fd epoll_;
    sys::unique_fd signals_;
    agent_side agents_;
    buffer_pool buffers_;
    std::unique_ptr<char[]> scratch_;

    connection_list waiting_;
    connection_list relaying_;
    connection_list watched_;
    connection_list lingering_;
    connection* with_more_ = nullptr;
    connection* dead_ = nullptr;

    std::uint32_t open_ = 0;           ///< all of them
    std::uint32_t lingering_now_ = 0;  ///< of these, the ones that no longer count as connections
    std::uint64_t accepted_total_ = 0;
    std::uint64_t refused_total_ = 0;
    bool accepting_ = true;
    bool draining_ = false;
    bool stop_ = false;
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
