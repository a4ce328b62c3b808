// A worker: one thread, one io_context, its connections and its idle provider connections. Workers share
// nothing on the path of a request but the services' atomics. Thread rule: everything here belongs to the
// worker's thread; other threads post().
#pragma once

#include "proxy/body_bytes.hpp"
#include "proxy/crowd.hpp"
#include "proxy/handoff.hpp"
#include "proxy/net/aside.hpp"
#include "proxy/net/task.hpp"
#include "proxy/net/turn_end.hpp"
#include "proxy/runtime.hpp"
#include "proxy/services.hpp"
#include "proxy/upstream/pool.hpp"

#include <atomic>
#include <list>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace keyhole::proxy {

class connection;

/// A connection on its way to its worker.
struct newcomer {
    agent_socket socket;
    session_ptr bound;  ///< the session whose own socket it came through
    bool tcp = false;
    handed_over handed{};  ///< by a bridge
};

class worker {
public:
    worker(services& shared, runtime_ptr rt, std::size_t connection_limit);
    ~worker();

    asio::io_context& io() noexcept { return io_; }
    services& shared() noexcept { return shared_; }
    upstream::pool& pool() noexcept { return pool_; }
    const runtime_ptr& rt() const noexcept { return rt_; }

    void start();
    /// From any thread: a connection accepted for this worker. Where limits.max_connections is reached, one
    /// without a request under way, of whoever holds the most, makes room (crowd.hpp); without one, the
    /// newcomer is closed.
    void adopt(newcomer who);
    /// From any thread.
    void use(runtime_ptr rt);
    void end_session(session_ptr who);
    /// Idle connections end, busy ones after their answer.
    void drain();
    /// Everything ends now.
    void cut_all();
    void stop();  ///< and joins the thread
    bool stopping() const noexcept { return stopping_; }
    std::size_t connections() const noexcept { return count_.load(std::memory_order_relaxed); }
    std::size_t idle_upstream() const noexcept { return idle_.load(std::memory_order_relaxed); }

    /// Buffers are lent per exchange, so that an idle connection holds none.
    static constexpr std::size_t buffer_size = 32 * 1024;
    /// For bodies that are larger than that.
    large_buffers& large() noexcept { return large_; }
    /// For writes that wake somebody.
    turn_end& end_of_turn() noexcept { return end_of_turn_; }
    /// For what would hold the others up.
    side_thread& aside() noexcept { return aside_; }
    std::unique_ptr<char[]> lend_buffer();
    void return_buffer(std::unique_ptr<char[]> used);

    /// The endpoint for a session with its own key, made once per worker.
    upstream::endpoint_ptr endpoint_for(const session& who);

private:
    friend class connection;
    task<> tick();
    bool make_room(holder_key who);
    void begin(newcomer who, holder_key holder, unsigned turns);
    void dismantle(large_buffer used);

    services& shared_;
    const std::size_t connection_limit_;  ///< this worker's share of limits.max_connections; fixed at start
    asio::io_context io_{1};
    asio::executor_work_guard<executor> work_;
    upstream::pool pool_;
    runtime_ptr rt_;
    timer clock_;
    std::list<connection*> live_;
    crowd crowd_;
    std::size_t present_ = 0;  ///< connections that began and are not gone
    std::size_t leaving_ = 0;  ///< of these, cut to make room
    std::vector<std::unique_ptr<char[]>> buffers_;
    large_buffers large_;
    side_thread aside_;
    turn_end end_of_turn_;
    std::unordered_map<std::string, upstream::endpoint_ptr> own_endpoints_;
    std::atomic<std::size_t> count_{0};
    std::atomic<std::size_t> idle_{0};
    bool draining_ = false;
    bool stopping_ = false;
    std::thread thread_;
};

}  // namespace keyhole::proxy
