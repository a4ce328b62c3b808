// Where each connection of a hand-off channel is at rest: how many bytes have been read from it and written
// to it when no request is under way. Shared memory that the bridge can read and not write, so that it tells,
// with the kernel's own counts, what became of a request when this process was killed: nothing of its answer
// was written (a 503 can say why there is none), or something was. The next rest is foretold before the last
// bytes of an answer are written, so that there is no instant at which a whole answer looks like half of one.
// Four stores a request. Thread rule: a mark belongs to the connection whose number it has.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace keyhole::proxy {

struct handoff_mark {
    struct point {
        std::atomic<std::uint64_t> read{0};
        std::atomic<std::uint64_t> written{0};
        /// In this order: with half of it done the bridge still goes by the other point.
        void set(std::uint64_t bytes_read, std::uint64_t bytes_written) noexcept
        {
            written.store(bytes_written, std::memory_order_release);
            read.store(bytes_read, std::memory_order_release);
        }
    };
    point before;
    point next;  ///< once so much is written; until then `before` holds
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free && sizeof(handoff_mark) == 32);

class handoff_marks {
public:
    /// For the bridge's numbers below this; pages that no number needs are never made.
    static constexpr std::size_t count = 32'768;

    /// Null where the kernel has no sealed memory; then the bridge knows less and resets more.
    static std::unique_ptr<handoff_marks> make() noexcept;
    ~handoff_marks();
    handoff_marks(const handoff_marks&) = delete;
    handoff_marks& operator=(const handoff_marks&) = delete;

    /// Null: a number beyond.
    handoff_mark* of(std::uint32_t number) const noexcept
    {
        return number < count ? first_ + number : nullptr;
    }
    /// Sends the eight bytes of a welcome, and with them this memory. False: not sent.
    bool send_with(int channel, const char* text, std::size_t size) noexcept;

private:
    handoff_marks(int descriptor, handoff_mark* first) noexcept : descriptor_(descriptor), first_(first) {}

    int descriptor_;  ///< until it is sent
    handoff_mark* first_;
};

}  // namespace keyhole::proxy
