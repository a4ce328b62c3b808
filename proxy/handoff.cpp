#include "proxy/handoff.hpp"

#include "proxy/connection.hpp"
#include "proxy/worker.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace keyhole::proxy {
namespace {

constexpr int messages_per_turn = 64;  // then the worker's other connections
constexpr unsigned most_unfit =
    64;  // on one channel; a runtime that cannot pass descriptors stops at the first

/// No one bridge has all of limits.max_connections.
std::size_t most_served(worker& home)
{
    const std::size_t all = home.rt()->settings->bounds.max_connections;
    return std::max<std::size_t>(1, all - all / 4);
}

/// The sender keeps a copy of what it sends, and with it can delay our calls (the kernel's lock of a socket).
/// So only bridges are believed that are not the agent: those of users of their own.
bool may_hand_over(connection& channel)
{
    const auto& uids = channel.home().rt()->settings->agents.hand_off_uids;
    std::uint32_t uid = 0;
    return peer_uid(channel.socket().native_handle(), uid) &&
           std::find(uids.begin(), uids.end(), uid) != uids.end();
}

void take(worker& home, const std::shared_ptr<handoff_link>& link, std::uint32_t number, int descriptor,
          std::uint64_t cookie)
{
    handed_over handed(link, number, cookie);
    auto& shared = home.shared();
    worker& to = *shared.crew[shared.turn.fetch_add(1, std::memory_order_relaxed) % shared.crew.size()];
    agent_socket socket(to.io().get_executor());
    error_code ec;
    socket.assign(asio::generic::stream_protocol(AF_INET, 0), descriptor, ec);
    if (ec) {
        close_shared(descriptor);
        handed.ends_as(handoff_word::unfit);
        return;
    }
    to.adopt({std::move(socket), link->bound(), true, std::move(handed)});
}

enum class taken { all, some, bridge_closed, enough };

/// What has arrived, within bounds.
taken take_waiting(worker& home, const std::shared_ptr<handoff_link>& link, unsigned& unfit)
{
    const std::size_t most = most_served(home);
    for (int i = 0; i < messages_per_turn; ++i) {
        const received_message got = receive_message(link->descriptor());
        if (got.is == received_message::verdict::none_yet) return taken::all;
        if (got.is == received_message::verdict::closed) return taken::bridge_closed;
        if (got.is == received_message::verdict::broken) return taken::enough;
        const std::uint32_t number = got.message.number;
        auto verdict = handoff_link::verdict::served_already;
        std::uint64_t cookie = 0;
        if (got.descriptor >= 0 && why_unfit(got.descriptor) == nullptr) {
            cookie = cookie_of(got.descriptor);
            verdict = link->admit(cookie, most);
        }
        if (verdict == handoff_link::verdict::yes) {
            take(home, link, number, got.descriptor, cookie);
            continue;
        }
        if (got.descriptor >= 0) close_shared(got.descriptor);
        const bool full = verdict == handoff_link::verdict::full;
        handoff_link::tell(link, {full ? handoff_word::full : handoff_word::unfit, number});
        if (!full && ++unfit >= most_unfit) return taken::enough;
    }
    return taken::some;
}

void give_back_waiting(const std::shared_ptr<handoff_link>& link)
{
    while (true) {
        const received_message got = receive_message(link->descriptor());
        if (got.is != received_message::verdict::message) return;
        if (got.descriptor >= 0) close_shared(got.descriptor);
        handoff_link::tell(link, {handoff_word::untouched, got.message.number});
    }
}

}  // namespace

handoff_link::handoff_link(worker& home, int descriptor, session_ptr bound, std::string_view token)
    : home_(home), descriptor_(descriptor), bound_(std::move(bound)), token_(token)
{
}

handoff_link::~handoff_link()
{
    config::wipe(token_.data(), token_.size());
    ::close(descriptor_);
}

void handoff_link::tell(const std::shared_ptr<handoff_link>& link, const handoff_message& m)
{
    if (!link->bridge_is_there()) return;
    const auto text = m.bytes();
    const std::lock_guard lock(link->mutex_);
    const bool others_wait = !link->unsent_.empty();
    // Bounded by what the bridge has handed over: a connection is worth two words at most.
    link->unsent_.insert(link->unsent_.end(), text.begin(), text.end());
    if (others_wait || link->send_unsent()) return;
    asio::co_spawn(link->home_.io().get_executor(), send_later(link), asio::detached);
}

void handoff_link::welcome(const std::shared_ptr<handoff_link>& link, std::uint32_t most)
{
    const handoff_message m{handoff_word::welcome, most};
    const auto text = m.bytes();
    link->marks_ = handoff_marks::make();
    // A new socket has room for it; without the memory the word alone will do.
    if (link->marks_ && link->marks_->send_with(link->descriptor_, text.data(), text.size())) return;
    link->marks_.reset();
    tell(link, m);
}

/// True when nothing is left. Under the mutex.
bool handoff_link::send_unsent() noexcept
{
    while (!unsent_.empty()) {
        const ssize_t n = ::send(descriptor_, unsent_.data(), unsent_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            unsent_.erase(unsent_.begin(), unsent_.begin() + n);
            continue;
        }
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return false;
        unsent_.clear();  // nobody listens any more
        bridge_has_gone();
    }
    return true;
}

task<> handoff_link::send_later(std::shared_ptr<handoff_link> link)
{
    timer pause(link->home_.io().get_executor());
    while (!link->home_.stopping()) {
        pause.expires_after(std::chrono::milliseconds(5));
        auto [ec] = co_await pause.async_wait(as_result);
        if (ec) break;
        const std::lock_guard lock(link->mutex_);
        if (link->send_unsent()) break;
    }
}

handoff_link::verdict handoff_link::admit(std::uint64_t cookie, std::size_t most)
{
    const std::lock_guard lock(mutex_);
    if (served_.size() >= most) return verdict::full;
    return served_.insert(cookie).second ? verdict::yes : verdict::served_already;
}

void handoff_link::ended(std::uint64_t cookie) noexcept
{
    const std::lock_guard lock(mutex_);
    served_.erase(cookie);
}

handed_over::handed_over(std::shared_ptr<handoff_link> link, std::uint32_t number,
                         std::uint64_t cookie) noexcept
    : link_(std::move(link)), number_(number), cookie_(cookie), mark_(link_->mark_of(number))
{
    if (mark_ == nullptr) return;
    mark_->before.set(0, 0);  // the number's last connection is not this one
    mark_->next.set(0, 0);
}

handed_over::handed_over(handed_over&& other) noexcept
    : link_(std::move(other.link_))
    , number_(other.number_)
    , cookie_(other.cookie_)
    , ending_(other.ending_)
    , watched_(other.watched_)
    , mark_(other.mark_)
{
}

handed_over& handed_over::operator=(handed_over&& other) noexcept
{
    std::swap(link_, other.link_);
    std::swap(number_, other.number_);
    std::swap(cookie_, other.cookie_);
    std::swap(ending_, other.ending_);
    std::swap(watched_, other.watched_);
    std::swap(mark_, other.mark_);
    return *this;
}

handed_over::~handed_over()
{
    if (!link_) return;
    link_->ended(cookie_);
    handoff_link::tell(link_, {ending_, number_});
}

void handed_over::will_rest_at(std::uint64_t bytes_read, std::uint64_t bytes_written) noexcept
{
    if (mark_ == nullptr) return;
    mark_->before.set(mark_->next.read.load(std::memory_order_relaxed),
                      mark_->next.written.load(std::memory_order_relaxed));
    mark_->next.set(bytes_read, bytes_written);
}

void handed_over::nothing_begun_at(std::uint64_t bytes_written) noexcept
{
    if (mark_ != nullptr) will_rest_at(mark_->next.read.load(std::memory_order_relaxed), bytes_written);
}

bool handed_over::ask_to_watch()
{
    if (!link_->bridge_is_there()) return false;
    if (!std::exchange(watched_, true)) handoff_link::tell(link_, {handoff_word::finished, number_});
    return true;
}

task<> serve_channel(connection& channel)
{
    auto& socket = channel.socket();
    const bool welcome = channel.unread().empty() && may_hand_over(channel);
    const int own = welcome ? ::fcntl(socket.native_handle(), F_DUPFD_CLOEXEC, 0) : -1;
    if (own < 0) {
        const auto refusal = handoff_message{handoff_word::unfit}.bytes();
        const std::string_view text(refusal.data(), refusal.size());
        co_await channel.write(text);
        co_return;
    }
    auto& home = channel.home();
    channel.becomes_channel();
    const auto link = std::make_shared<handoff_link>(home, own, channel.bound(), channel.vouched_token());
    handoff_link::welcome(link, static_cast<std::uint32_t>(most_served(home)));
    channel.limit().rest();
    unsigned unfit = 0;
    auto found = taken::all;
    while (found == taken::all || found == taken::some) {
        auto [ec] = co_await socket.async_wait(agent_socket::wait_read, as_result);
        if (ec || channel.cut() != cut_reason::none || channel.draining()) break;
        found = take_waiting(home, link, unfit);
    }
    if (found == taken::bridge_closed) {
        link->bridge_has_gone();
        co_return;
    }
    // From here on the bridge cannot send; what it has sent already goes back to it.
    ::shutdown(own, SHUT_RD);
    give_back_waiting(link);
    handoff_link::tell(link, {handoff_word::leaving});
}

}  // namespace keyhole::proxy
