#include "proxy/net/aside.hpp"

#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>

#include <cstdint>
#include <exception>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

namespace keyhole::proxy {
namespace {

/// Asks the kernel for short turns (Linux 6.12 and later; others ignore it) and few of them: where the loop
/// shares this thread's core, it has it back at once.
void take_short_turns() noexcept
{
    struct {
        std::uint32_t size = 48;
        std::uint32_t policy = 0;  // SCHED_OTHER
        std::uint64_t flags = 0;
        std::int32_t nice = 10;
        std::uint32_t priority = 0;
        std::uint64_t runtime_ns = 100'000;
        std::uint64_t deadline_ns = 0;
        std::uint64_t period_ns = 0;
    } wish;
    ::syscall(SYS_sched_setattr, 0, &wish, 0);
}

}  // namespace

side_thread::side_thread() = default;

side_thread::~side_thread()
{
    if (thread_) thread_->join();
}

task<> side_thread::run(executor loop, std::function<void()> work)
{
    if (!thread_) {
        thread_ = std::make_unique<asio::thread_pool>(1);
        asio::post(*thread_, &take_short_turns);
    }
    struct waiting {
        timer until;
        std::exception_ptr thrown;
    };
    const auto w = std::make_shared<waiting>(waiting{timer(loop), nullptr});
    w->until.expires_at(clock::time_point::max());
    asio::post(*thread_, [w, loop, work = std::move(work)] {
        try {
            work();
        } catch (...) {
            w->thrown = std::current_exception();
        }
        asio::post(loop, [w] { w->until.cancel(); });
    });
    co_await w->until.async_wait(as_result);  // ends by the cancel above
    if (w->thrown) std::rethrow_exception(w->thrown);
}

}  // namespace keyhole::proxy
