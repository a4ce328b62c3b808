// Hand-off: a bridge passes the agent's connection itself over a channel (one unix connection a bridge), and
// the proxy talks to the agent with nothing in between. The bridge keeps a copy of each until it is told
// "done": if this process ends, it hands the untouched ones to the next proxy and answers for the others. So
// the channel stays open exactly as long as anything of it is served here. docs/decisions/0009-hand-off.md.
#pragma once

#include "proxy/handoff_marks.hpp"
#include "proxy/net/descriptor.hpp"
#include "proxy/net/task.hpp"
#include "proxy/session.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace keyhole::proxy {

class connection;
class worker;

/// What the connections of one channel share: who they are, and the way back to the bridge. Any thread.
class handoff_link {
public:
    handoff_link(worker& home, int descriptor, session_ptr bound, std::string_view token);
    ~handoff_link();
    handoff_link(const handoff_link&) = delete;
    handoff_link& operator=(const handoff_link&) = delete;

    /// The session whose own socket the channel came through; else the token that the bridge vouched with.
    const session_ptr& bound() const noexcept { return bound_; }
    std::string_view token() const noexcept { return token_; }

    /// Never waits: what the socket does not take is kept and sent when there is room.
    static void tell(const std::shared_ptr<handoff_link>& link, const handoff_message& m);
    /// The first word of a channel.
    static void welcome(const std::shared_ptr<handoff_link>& link, std::uint32_t most);
    /// Null: there is none for this number.
    handoff_mark* mark_of(std::uint32_t number) const noexcept
    {
        return marks_ ? marks_->of(number) : nullptr;
    }
    int descriptor() const noexcept { return descriptor_; }
    bool bridge_is_there() const noexcept { return bridge_is_there_.load(std::memory_order_relaxed); }
    void bridge_has_gone() noexcept { bridge_is_there_.store(false, std::memory_order_relaxed); }

    enum class verdict : unsigned char { yes, full, served_already };
    /// Counts a connection in. Each once: every event of a connection would wake all that serve it.
    verdict admit(std::uint64_t cookie, std::size_t most);
    void ended(std::uint64_t cookie) noexcept;

private:
    bool send_unsent() noexcept;
    static task<> send_later(std::shared_ptr<handoff_link> link);

    worker& home_;
    const int descriptor_;  ///< our own of the channel: it outlives the channel's connection
    session_ptr bound_;
    std::string token_;
    std::atomic<bool> bridge_is_there_{true};
    std::mutex mutex_;
    std::vector<char> unsent_;
    std::unique_ptr<handoff_marks> marks_;
    std::unordered_set<std::uint64_t> served_;  ///< connections that came through it and are not gone
};

/// One connection's place in its channel. Whoever holds it last tells the bridge how it ended.
class handed_over {
public:
    handed_over() noexcept = default;
    handed_over(std::shared_ptr<handoff_link> link, std::uint32_t number, std::uint64_t cookie) noexcept;
    ~handed_over();
    handed_over(handed_over&& other) noexcept;
    handed_over& operator=(handed_over&& other) noexcept;

    explicit operator bool() const noexcept { return link_ != nullptr; }
    const handoff_link& link() const noexcept { return *link_; }
    /// What is said at the end; `done` unless something else was said here.
    void ends_as(handoff_word how) noexcept { ending_ = how; }
    /// The answer that is being written will be whole with this many bytes, and nothing read that is not
    /// used.
    void will_rest_at(std::uint64_t bytes_read, std::uint64_t bytes_written) noexcept;
    /// So much will have been written, and none of it belongs to the answer of the request that is under way.
    void nothing_begun_at(std::uint64_t bytes_written) noexcept;
    /// The agent sends no more: the bridge shuts the connection down should the agent go. False: it can't be
    /// asked.
    bool ask_to_watch();

private:
    std::shared_ptr<handoff_link> link_;
    std::uint32_t number_ = 0;
    std::uint64_t cookie_ = 0;
    handoff_word ending_ = handoff_word::done;
    bool watched_ = false;
    handoff_mark* mark_ = nullptr;  ///< the link's
};

/// Serves a channel until the bridge closes it, or it is cut. The preface has been read.
task<> serve_channel(connection& channel);

}  // namespace keyhole::proxy
