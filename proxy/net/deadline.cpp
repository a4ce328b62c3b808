#include "proxy/net/deadline.hpp"

#include <ctime>
#include <utility>

namespace keyhole::proxy {
namespace {

/// The kernel's last tick, a few milliseconds old at most: limits are seconds, and this costs a fraction of
/// asking the clock itself, several times a request.
clock::time_point now_or_so() noexcept
{
    ::timespec t{};
    ::clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return clock::time_point(std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec));
}

}  // namespace

struct deadline::state {
    timer wait;
    clock::time_point at = clock::time_point::max();     ///< when the current wait ends
    clock::time_point armed = clock::time_point::max();  ///< when the timer will look next
    waiting_for what = waiting_for::nothing;
    std::function<void(waiting_for)> on_expiry;
};

deadline::deadline(executor ex, std::function<void(waiting_for)> on_expiry)
    : state_(std::make_shared<state>(state{timer(ex), {}, {}, waiting_for::nothing, std::move(on_expiry)}))
{
    state_->at = clock::time_point::max();
    state_->armed = clock::time_point::max();
}

deadline::~deadline()
{
    state_->on_expiry = nullptr;
    state_->wait.cancel();
}

void deadline::arm(const std::shared_ptr<state>& s)
{
    s->armed = s->at;
    s->wait.expires_at(s->at);
    s->wait.async_wait([weak = std::weak_ptr<state>(s)](error_code ec) {
        const auto alive = weak.lock();
        if (!alive || ec) return;  // the connection is over, or the timer was armed anew
        alive->armed = clock::time_point::max();
        if (alive->at == clock::time_point::max()) return;  // resting: the next expect() arms it
        if (clock::now() < alive->at) return arm(alive);    // it was moved while the timer slept
        alive->at = clock::time_point::max();
        if (alive->on_expiry) alive->on_expiry(alive->what);
    });
}

void deadline::expect(waiting_for what, clock::duration limit)
{
    state_->what = what;
    state_->at = now_or_so() + limit;
    if (state_->at < state_->armed) arm(state_);
}

void deadline::rest() noexcept
{
    state_->at = clock::time_point::max();
}

}  // namespace keyhole::proxy
