// Descriptors that arrive over a unix socket, and the words that travel with them
// (docs/decisions/0009-hand-off.md). The sender may be hostile: one message carries one descriptor, anything
// else that came is closed, and only a connected TCP socket is fit. Plain system calls, none of which waits.
// Thread rule: any thread.
#pragma once

#include <array>
#include <cstdint>

namespace keyhole::proxy {

/// A message of either direction: the word, three zero bytes, the sender's number for the connection (little
/// endian). The number means nothing to the proxy; it is said back.
enum class handoff_word : unsigned char {
    take = 'H',       ///< to the proxy, with a descriptor: serve this connection
    welcome = 'K',    ///< the channel is open; the number is how many connections it may have at a time
    done = 'D',       ///< the connection has ended here
    untouched = 'R',  ///< the proxy ends; nothing was read from this connection, another proxy can serve it
    full = 'F',       ///< too many connections: not served
    unfit = 'N',  ///< no descriptor came, or none that can be served: relay it. Without a number: all of them
    finished = 'W',  ///< the agent sends no more: is it still there? If not, shut the connection down
    leaving = 'X',   ///< nothing more is taken over this channel
};

struct handoff_message {
    static constexpr std::size_t size = 8;
    static constexpr std::uint32_t no_number = 0xffffffff;
    handoff_word word = handoff_word::take;
    std::uint32_t number = no_number;

    std::array<char, size> bytes() const noexcept;
};

struct received_message {
    enum class verdict : unsigned char { none_yet, closed, broken, message };
    verdict is = verdict::none_yet;
    handoff_message message;
    int descriptor = -1;  ///< the caller's to close; -1: none came, or more than one
};

/// Reads one message. `broken`: a length, word or padding that no bridge sends.
received_message receive_message(int channel) noexcept;

/// Why this is not a connection that can be served; nullptr: it is a connected TCP socket.
const char* why_unfit(int descriptor) noexcept;

/// Names the connection, however many descriptors it has; 0: cannot be found out.
std::uint64_t cookie_of(int descriptor) noexcept;

/// The kernel's word on who connected to a unix socket. False: unknown.
bool peer_uid(int descriptor, std::uint32_t& uid) noexcept;

/// True once all that was written, and the end of it, has been acknowledged. After sending was shut nobody
/// can add to it.
bool all_delivered(int descriptor) noexcept;

/// Closes a connection that somebody else may hold, too, without waiting: close() would wait for what is not
/// delivered yet if whoever shares it has set SO_LINGER.
void close_shared(int descriptor) noexcept;
/// The same with a reset, which takes effect at once and whoever else holds it.
void reset_shared(int descriptor) noexcept;

}  // namespace keyhole::proxy
