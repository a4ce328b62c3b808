// What the relay keeps per connection: two descriptors, at most one held buffer per direction, and its place
// in one list. An idle one costs this struct and the kernel's sockets. Owned by the relay's thread.
#pragma once

#include "bridge/conversation.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>

namespace keyhole::bridge {

/// Bytes read but not yet taken by the other side. They exist only while that side is full.
struct held_bytes {
    static constexpr std::size_t capacity = 65'536;
    char* data = nullptr;
    std::uint32_t from = 0;
    std::uint32_t to = 0;
};

/// Held buffers are mapped, not taken from the heap, so that what a burst needed goes back to the system. A
/// few stay for reuse.
class buffer_pool {
public:
    char* take() noexcept;
    void give(char* buffer) noexcept;

private:
    static constexpr std::size_t most_spare = 16;
    char* spare_[most_spare] = {};
    std::size_t count_ = 0;
};

/// One socket of a connection, as the last events left it.
struct endpoint {
    int fd = -1;
    bool readable = false;
    bool peer_finished = false;   ///< it will send no more (EPOLLRDHUP)
    bool peer_gone = false;       ///< both directions are shut (EPOLLHUP)
    bool waits_for_room = false;  ///< EPOLLOUT is asked for
};

/// One direction.
struct flow {
    held_bytes held;
    bool source_ended = false;  ///< end of stream was read
    bool done = false;          ///< and passed on, or nobody takes it any more
    bool moved = false;         ///< at least one byte was read
};

enum class phase : std::uint8_t {
    waiting,  ///< for the proxy to answer
    handed,   ///< passed on: the proxy serves it, this is a copy
    relaying,
    resting,    ///< the proxy has closed between two requests: the next one goes to whoever is there then
    watched,    ///< relaying or handed, and the agent is looked for: it has finished sending, or its sending
                ///< has stalled
    lingering,  ///< the last byte went to the agent; what it still sends is thrown away until it closes
    dead,       ///< to be freed after this batch of events
};

struct connection {
    endpoint agent;
    endpoint proxy;
    flow up;    ///< agent to proxy
    flow down;  ///< proxy to agent
    phase now = phase::dead;
    std::uint8_t looks = 0;              ///< how often the agent was looked for
    std::uint8_t renewals = 0;           ///< proxies that ended before anything was said
    bool has_more = false;               ///< in the list of those that used up their turn
    bool registered = false;             ///< the agent's descriptor is in the epoll set
    std::int64_t due_ms = 0;             ///< of its phase
    struct channel* via = nullptr;       ///< where it was passed on
    std::unique_ptr<conversation> talk;  ///< while it is relayed
    std::uint64_t read_before = 0;       ///< bytes that earlier proxies took out of the agent's socket
    std::uint64_t written_before = 0;
    connection* previous = nullptr;
    connection* next = nullptr;
    connection* next_with_more = nullptr;
};

/// Intrusive, first in first out.
class connection_list {
public:
    connection* front() const noexcept { return first_; }
    bool empty() const noexcept { return first_ == nullptr; }
    void push_back(connection& c) noexcept;
    void remove(connection& c) noexcept;

private:
    connection* first_ = nullptr;
    connection* last_ = nullptr;
};

}  // namespace keyhole::bridge
