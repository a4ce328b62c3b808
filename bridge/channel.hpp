// Hand-off, the bridge's side of the wire: one unix connection to the proxy over which accepted sockets are
// passed, a message of eight bytes with one descriptor each (docs/decisions/0009-hand-off.md). The proxy
// answers with messages of eight bytes. Nothing here waits.
#pragma once

#include "bridge/system.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace keyhole::bridge {

/// What the proxy says about a connection, by the number that came with it.
enum class proxy_word : unsigned char {
    welcome = 'K',    ///< descriptors are taken; the number is how many at a time
    done = 'D',       ///< it has ended
    untouched = 'R',  ///< the proxy ends and has read nothing from it
    full = 'F',       ///< too many
    unfit = 'N',      ///< the descriptor did not arrive; without a number: none will be taken
    finished = 'W',   ///< the agent sends no more: look whether it is still there
    leaving = 'X',    ///< no more descriptors over this channel
};

struct proxy_message {
    static constexpr std::size_t size = 8;
    static constexpr std::uint32_t no_number = 0xffffffff;
    proxy_word word = proxy_word::done;
    std::uint32_t number = 0;
};

/// What has been read from a connection, and written to it, since it was passed on and when no request is
/// under way: `next` once so much is written, until then `before`. In the proxy's memory, which outlives it.
struct rest_mark {
    struct point {
        std::atomic<std::uint64_t> read;
        std::atomic<std::uint64_t> written;
    };
    point before;
    point next;
};
static_assert(sizeof(rest_mark) == 32 && std::atomic<std::uint64_t>::is_always_lock_free);

struct channel {
    channel() = default;
    ~channel();
    channel(const channel&) = delete;
    channel& operator=(const channel&) = delete;

    enum class state : std::uint8_t { greeting, open, retired };
    static constexpr std::size_t buffer_size = 512 * proxy_message::size;

    sys::unique_fd fd;
    state now = state::greeting;
    bool waits_for_room = false;
    std::uint32_t most = 0;     ///< that the proxy serves at a time
    std::uint32_t held = 0;     ///< passed and not done
    std::int64_t since_ms = 0;  ///< when it began to greet, then when it was opened
    std::size_t partial = 0;    ///< bytes of a message whose rest has not arrived
    char begun[proxy_message::size] = {};
    /// Where the proxy's connections were last at rest, by number; null: an older proxy, which does not say.
    const rest_mark* marks = nullptr;
    std::size_t marks_size = 0;
    channel* next = nullptr;
};

/// 0, or why it was not sent. EAGAIN: no room for now.
int pass_descriptor(int channel, std::uint32_t number, int descriptor) noexcept;

/// Reads messages, and the memory that comes with a welcome, into `out` (room for channel::buffer_size /
/// proxy_message::size). Their number; 0: none for now; -1: closed, errno 0 for an orderly end.
int read_messages(channel& from, proxy_message* out) noexcept;

/// How far the conversation on an accepted socket got.
struct progress {
    bool known = false;
    bool closed = false;        ///< by whoever served it
    std::uint64_t read = 0;     ///< bytes of the agent that were taken out of it
    std::uint64_t written = 0;  ///< into it, delivered or not
};
progress progress_of(int tcp_fd) noexcept;

}  // namespace keyhole::bridge
