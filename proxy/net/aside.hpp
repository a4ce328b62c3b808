// Work that takes long, on a thread beside the loop's, so that the loop's others need not wait for it: a look
// through a hundred megabytes takes tens of milliseconds. Thread rule: run() on the loop's thread.
#pragma once

#include "proxy/net/task.hpp"

#include <functional>
#include <memory>

namespace boost::asio {
class thread_pool;
}

namespace keyhole::proxy {

class side_thread {
public:
    side_thread();
    ~side_thread();  ///< waits for what was begun
    side_thread(const side_thread&) = delete;
    side_thread& operator=(const side_thread&) = delete;

    /// Runs `work` there, one after another, and comes back to `loop`; throws what it threw. What it refers
    /// to must live until then: this can't be cancelled. The thread is made for the first.
    task<> run(executor loop, std::function<void()> work);

private:
    std::unique_ptr<asio::thread_pool> thread_;
};

}  // namespace keyhole::proxy
