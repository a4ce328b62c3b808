#include "proxy/worker.hpp"

#include "proxy/connection.hpp"
#include "proxy/net/descriptor.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>

#include <exception>
#include <utility>

namespace keyhole::proxy {
namespace {

constexpr std::size_t kept_buffers = 64;
constexpr std::size_t freed_in_a_turn = 256 * 1024;
constexpr unsigned turns_to_wait = 16;  // of the loop, for room in a burst of newcomers

/// The same configuration, its users counted per worker: a count that all workers share costs each request a
/// cache miss.
runtime_ptr own_handle(runtime_ptr shared)
{
    const auto keeper = std::make_shared<runtime_ptr>(std::move(shared));
    return {keeper, keeper->get()};
}

/// Takes the socket by value: the connection lives in this frame.
task<> serve_connection(worker& home, newcomer who, holder_key holder)
{
    connection c(home, std::move(who), holder);
    co_await c.serve();
}

void turn_away(newcomer who)
{
    if (!who.handed) return;  // closes it
    who.handed.ends_as(handoff_word::full);
    error_code ignored;
    close_shared(who.socket.release(ignored));
}

holder_key holder_of(newcomer& who)
{
    using sort = holder_key::sort;
    if (who.bound) return {sort::session, number_of(who.bound.get())};
    if (who.handed) return {sort::channel, number_of(&who.handed.link())};
    std::uint32_t uid = 0;
    if (who.tcp || !peer_uid(who.socket.native_handle(), uid)) return {sort::tcp};
    return {sort::user, uid};
}

}  // namespace

worker::worker(services& shared, runtime_ptr rt, std::size_t connection_limit)
    : shared_(shared)
    , connection_limit_(connection_limit)
    , work_(asio::make_work_guard(io_))
    , pool_(io_)
    , rt_(own_handle(std::move(rt)))
    , clock_(io_.get_executor())
    , end_of_turn_(io_.get_executor())
{
    large_.set_dismantle([this](large_buffer used) { dismantle(std::move(used)); });
}

worker::~worker()
{
    if (thread_.joinable()) stop();
}

void worker::start()
{
    asio::co_spawn(io_.get_executor(), tick(), asio::detached);
    thread_ = std::thread([this] { io_.run(); });
}

task<> worker::tick()
{
    while (!stopping_) {
        clock_.expires_after(std::chrono::seconds(1));
        auto [ec] = co_await clock_.async_wait(as_result);
        if (ec) break;
        pool_.sweep(clock::now());
        large_.sweep();
        buffers_.resize(buffers_.size() / 2);  // a quiet worker keeps none; a busy one has them back at once
        idle_.store(pool_.idle(), std::memory_order_relaxed);
    }
}

void worker::adopt(newcomer who)
{
    // The socket already carries this worker's executor; the hand-over is the post.
    count_.fetch_add(1, std::memory_order_relaxed);
    asio::post(io_, [this, w = std::move(who)]() mutable {
        const holder_key holder = holder_of(w);
        begin(std::move(w), holder, turns_to_wait);
    });
}

void worker::begin(newcomer who, holder_key holder, unsigned turns)
{
    if (stopping_) {
        count_.fetch_sub(1, std::memory_order_relaxed);
        turn_away(std::move(who));
        return;
    }
    // Those that were cut are as good as gone.
    if (present_ - leaving_ >= connection_limit_ && !make_room(holder)) {
        if (turns == 0) {
            count_.fetch_sub(1, std::memory_order_relaxed);
            turn_away(std::move(who));
            return;
        }
        // In a burst those that were cut have not left yet, and those that came have not begun: both get
        // their turn first.
        asio::post(io_, [this, w = std::move(who), holder, turns]() mutable {
            begin(std::move(w), holder, turns - 1);
        });
        return;
    }
    ++present_;
    auto ended = [this](const std::exception_ptr& thrown) {
        count_.fetch_sub(1, std::memory_order_relaxed);
        if (!thrown) return;
        try {
            std::rethrow_exception(thrown);
        } catch (const std::exception& e) {
            shared_.log.error("a connection ended with an exception (a defect: please report it)",
                              {{"what", e.what()}});
        }
    };
    asio::co_spawn(io_.get_executor(), serve_connection(*this, std::move(who), holder), ended);
}

bool worker::make_room(holder_key who)
{
    connection* const goes = crowd_.displace(who);
    if (goes == nullptr) return false;
    goes->cut_now(cut_reason::crowded);
    ++leaving_;
    return true;
}

void worker::use(runtime_ptr rt)
{
    asio::post(io_, [this, next = std::move(rt)]() mutable {
        rt_ = own_handle(std::move(next));
        own_endpoints_.clear();
        pool_.clear();  // connections made under the old addresses and trust
    });
}

void worker::end_session(session_ptr who)
{
    asio::post(io_, [this, who = std::move(who)] {
        own_endpoints_.erase(who->info.id);
        if (!who->info.cut_on_revoke) return;
        for (auto* c : live_)
            if (c->current_session() == who.get() || c->bound() == who) c->cut_now(cut_reason::revoked);
    });
}

void worker::drain()
{
    asio::post(io_, [this] {
        draining_ = true;
        for (auto* c : live_)
            c->begin_drain();
    });
}

void worker::cut_all()
{
    asio::post(io_, [this] {
        for (auto* c : live_)
            c->cut_now(cut_reason::shutdown);
    });
}

void worker::stop()
{
    asio::post(io_, [this] {
        stopping_ = true;
        clock_.cancel();
        for (auto* c : live_)
            c->cut_now(cut_reason::shutdown);
        work_.reset();
    });
    if (thread_.joinable()) thread_.join();
    pool_.clear();
}

void worker::dismantle(large_buffer used)
{
    if (!used.shrink(freed_in_a_turn)) return;
    asio::post(io_, [this, rest = std::move(used)]() mutable { dismantle(std::move(rest)); });
}

std::unique_ptr<char[]> worker::lend_buffer()
{
    if (buffers_.empty()) return std::make_unique_for_overwrite<char[]>(buffer_size);
    auto out = std::move(buffers_.back());
    buffers_.pop_back();
    return out;
}

void worker::return_buffer(std::unique_ptr<char[]> used)
{
    if (used && buffers_.size() < kept_buffers) buffers_.push_back(std::move(used));
}

upstream::endpoint_ptr worker::endpoint_for(const session& who)
{
    auto& known = own_endpoints_[who.info.id];
    if (!known) known = endpoint_of_credential(*rt_, *who.credential);
    return known;
}

}  // namespace keyhole::proxy
