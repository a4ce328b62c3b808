// The end of the loop's turn: what many connections write goes out together there, once all that was ready
// has been read. A write wakes its reader; one after another they wake somebody who goes back to sleep after
// each, and such a wake-up costs as much as the request's own work. Who is alone does not wait: whether there
// is company is looked at once in a while. Thread rule: the worker's thread.
#pragma once

#include "proxy/net/task.hpp"

namespace keyhole::proxy {

class turn_end {
public:
    explicit turn_end(executor loop) : loop_(loop) {}

    /// Whether this write should wait for the others of its turn.
    bool has_company() noexcept { return together_ || waiting_ != 0 || ++alone_ % writes_between_looks == 0; }
    /// Comes back when what was ready by now has had its turn.
    task<> wait();

private:
    static constexpr unsigned writes_between_looks = 16;
    static constexpr unsigned lone_turns = 16;  ///< in a row, and nobody waits any more

    executor loop_;
    unsigned waiting_ = 0;
    unsigned most_ = 0;  ///< waited together in this turn
    unsigned lone_ = 0;  ///< turns in a row in which one waited for nobody
    unsigned alone_ = 0;
    bool together_ = false;
};

}  // namespace keyhole::proxy
