// One timer a connection: moving the deadline is an assignment, the timer re-checks when it wakes. The expiry
// handler holds its state weakly: an expiry that is already queued cannot be cancelled and arrives after the
// owner is gone. Thread rule: the owner's worker only.
#pragma once

#include "proxy/net/task.hpp"

#include <functional>
#include <memory>

namespace keyhole::proxy {

/// Which wait a connection is in; what expired decides the error.
enum class waiting_for : unsigned char {
    nothing,
    next_request,
    head,
    body,
    connect,
    first_byte,
    answer,
    agent_to_read,
    drain
};

class deadline {
public:
    deadline(executor ex, std::function<void(waiting_for)> on_expiry);
    ~deadline();
    deadline(const deadline&) = delete;
    deadline& operator=(const deadline&) = delete;

    /// From now on `what` may last `limit`. Cheap where the deadline moves later; moving it earlier re-arms
    /// the timer.
    void expect(waiting_for what, clock::duration limit);
    /// No limit until the next expect().
    void rest() noexcept;

private:
    struct state;
    static void arm(const std::shared_ptr<state>& s);
    std::shared_ptr<state> state_;
};

}  // namespace keyhole::proxy
