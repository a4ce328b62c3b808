// The part of the relay that passes accepted connections to the proxy and is then out of the way of every
// byte. It keeps a copy of each until the proxy is done with it: should the proxy end, those it has not read
// from go to the next one, those it has read from and not answered get a 503, and those in the middle of an
// answer a reset.
#include "bridge/refusal.hpp"
#include "bridge/relay.hpp"
#include "bridge/upstream.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <utility>

namespace keyhole::bridge {
namespace {

constexpr std::int64_t greeting_limit_ms = 1000;
constexpr std::int64_t try_again_ms = 30'000;  // with a proxy that takes no descriptors
constexpr std::int64_t short_life_ms = 1000;   // of a channel; after some of these the next one may wait
constexpr int most_short_lived = 8;
constexpr std::int64_t room_limit_ms = 50;
constexpr std::uint32_t most_channels = 64;  // proxies that still end, one after another

}  // namespace

relay::handing relay::hand_over(connection& c)
{
    if (!settings_.hand_off) return handing::relay_it;
    if (channel_ == nullptr) {
        if (relay_until_ms_ != 0 && sys::now_ms() < relay_until_ms_) return handing::relay_it;
        return greet();
    }
    if (channel_->now == channel::state::greeting || channel_->waits_for_room) return handing::later;
    if (channel_->held >= channel_->most) return handing::relay_it;
    return pass(c);
}

relay::handing relay::greet()
{
    std::uint32_t count = 0;
    for (const channel* each = channels_; each != nullptr; each = each->next)
        ++count;
    sys::unique_fd fd = count < most_channels ? connect_upstream(settings_.socket) : sys::unique_fd();
    if (count >= most_channels) return handing::relay_it;
    if (!fd) return handing::away;
    log_proxy_state(true, 0);
    // A new socket has room for it.
    const ssize_t n = ::send(fd.get(), greeting_.data(), greeting_.size(), MSG_NOSIGNAL);
    auto* fresh = n == static_cast<ssize_t>(greeting_.size()) ? new (std::nothrow) channel : nullptr;
    if (fresh == nullptr) return handing::relay_it;
    fresh->fd = std::move(fd);
    fresh->since_ms = sys::now_ms();
    epoll_event event = make_event(EPOLLIN, fresh, tag_other);
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fresh->fd.get(), &event) != 0) {
        delete fresh;
        return handing::relay_it;
    }
    fresh->next = channels_;
    channels_ = channel_ = fresh;
    return handing::later;
}

relay::handing relay::pass(connection& c)
{
    channel& ch = *channel_;
    const auto number = static_cast<std::uint32_t>(c.agent.fd);
    if (c.registered) {
        // Before the proxy reads: an event for us would be one that it has dealt with.
        ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, c.agent.fd, nullptr);
        c.registered = false;
    }
    const int error = pass_descriptor(ch.fd.get(), number, c.agent.fd);
    switch (error) {
    case 0:
        break;
    case EAGAIN: {
        ch.waits_for_room = true;
        epoll_event event = make_event(EPOLLIN | EPOLLOUT, &ch, tag_other);
        ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, ch.fd.get(), &event);
        return watch_agent_events(c) ? handing::later : handing::relay_it;
    }
    case ETOOMANYREFS:  // another program of this user has passed too many that nobody took
    case ENOBUFS:
    case ENOMEM:
    case EMFILE:
        return handing::relay_it;
    case EPIPE:
    case ECONNRESET:
        // It takes no more; what it serves it still tells about.
        retire(ch);
        return hand_over(c);
    default:
        retire(ch);
        relay_for(-1, std::strerror(error));
        return handing::relay_it;
    }
    ++handed_total_;
    ++ch.held;
    c.via = &ch;
    if (by_number_.size() <= number) by_number_.resize(std::size_t{number} + 64);
    by_number_[number] = &c;
    move_to(c, phase::handed);
    if (draining_) close(c);
    return handing::done;
}

// Somebody waits for the channel to be opened or to have room again.
void relay::wait_for_channel()
{
    const std::int64_t now = sys::now_ms();
    std::string answer;
    while (!waiting_.empty() && waiting_.front()->due_ms + greeting_limit_ms <= now) {
        if (answer.empty()) answer = make_refusal(explain_upstream(settings_.socket, EAGAIN));
        turn_away(*waiting_.front(), answer);
    }
    connect_again_ms_ = now + room_limit_ms;
}

void relay::on_greeting_limit(std::int64_t now)
{
    if (channel_ == nullptr || channel_->now != channel::state::greeting ||
        channel_->since_ms + greeting_limit_ms > now)
        return;
    bury(*channel_);
    relay_for(try_again_ms, "it does not greet back");
    connect_again_ms_ = now;
}

void relay::on_channel(channel& ch, std::uint32_t events)
{
    if (!ch.fd) return;  // buried in this batch
    if ((events & EPOLLOUT) != 0) {
        ch.waits_for_room = false;
        epoll_event event = make_event(EPOLLIN, &ch, tag_other);
        ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, ch.fd.get(), &event);
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
        proxy_message said[channel::buffer_size / proxy_message::size];
        const int count = read_messages(ch, said);
        for (int i = 0; i < count; ++i)
            on_message(ch, said[i]);
        if (count < 0) {
            const bool knows_nothing_of_it = ch.now == channel::state::greeting && errno == 0;
            lose(ch);
            if (knows_nothing_of_it) relay_for(try_again_ms, "it knows nothing of it");
        }
    }
    if (!waiting_.empty() && (channel_ == nullptr || channel_->now == channel::state::open)) try_waiting();
}

void relay::on_message(channel& ch, const proxy_message& m)
{
    if (m.word == proxy_word::welcome && ch.now == channel::state::greeting) {
        ch.now = channel::state::open;
        ch.most = m.number;
        ch.since_ms = sys::now_ms();
        return;
    }
    if (m.word == proxy_word::leaving) return retire(ch);
    if (m.word == proxy_word::unfit && m.number == proxy_message::no_number) {
        retire(ch);
        relay_for(try_again_ms, "it takes none from this user (agents.hand_off_uids)");
        return;
    }
    connection* c = m.number < by_number_.size() ? by_number_[m.number] : nullptr;
    if (c == nullptr || c->via != &ch) return;
    switch (m.word) {
    case proxy_word::done:
        close(*c);
        return;
    case proxy_word::untouched:
        retire(ch);
        wait_again(*c);
        return;
    case proxy_word::unfit:
        retire(ch);
        relay_for(try_again_ms, "a descriptor did not arrive");
        wait_again(*c);
        return;
    case proxy_word::full:
        wait_again(*c);
        if (c->now == phase::waiting)
            turn_away(*c,
                      make_refusal({"too_many_connections", "the proxy has as many connections as it takes",
                                    "close idle connections, or raise limits.max_connections of the proxy"}));
        return;
    case proxy_word::finished:
        if (c->now != phase::handed) return;
        c->agent.peer_finished = true;
        watch_agent(*c);
        return;
    case proxy_word::welcome:
    case proxy_word::leaving:
        return;
    }
}

void relay::retire(channel& ch)
{
    if (&ch == channel_) channel_ = nullptr;
    if (std::exchange(ch.now, channel::state::retired) == channel::state::retired) return;
    // Not a greeting a millisecond with a proxy that means to leave.
    const bool short_lived = sys::now_ms() - ch.since_ms < short_life_ms;
    short_lived_ = short_lived ? short_lived_ + 1 : 0;
    if (short_lived_ < most_short_lived) return;
    short_lived_ = 0;
    relay_until_ms_ = std::max(relay_until_ms_, sys::now_ms() + short_life_ms);
}

// ms < 0: for good.
void relay::relay_for(std::int64_t ms, std::string_view why)
{
    if (relay_until_ms_ == 0) sys::say({"relaying: the proxy takes no connections over: ", why});
    relay_until_ms_ = ms < 0 ? INT64_MAX : sys::now_ms() + ms;
}

// It is ours alone again.
void relay::wait_again(connection& c)
{
    by_number_[static_cast<std::size_t>(c.agent.fd)] = nullptr;
    --std::exchange(c.via, nullptr)->held;
    c.agent.peer_finished = false;
    note_progress(c);
    c.due_ms = sys::now_ms() + settings_.connect_wait_ms;
    connect_again_ms_ = 0;
    move_to(c, phase::waiting);
    if (!watch_agent_events(c)) abort(c);
}

void relay::note_progress(connection& c)
{
    const progress got = progress_of(c.agent.fd);
    c.read_before = got.read;
    c.written_before = got.written;
}

// The agent has gone. The proxy sees that when the connection is shut down, and then lets go of it.
void relay::take_back(connection& c)
{
    ::shutdown(c.agent.fd, SHUT_RDWR);
    move_to(c, phase::handed);
}

namespace {

enum class standing : unsigned char {
    at_rest,     // nothing was read, or nothing but what was answered: the next proxy can go on
    unanswered,  // something was read, and nothing of its answer was written
    broken_off,  // in the middle of an answer, or nobody knows
};

standing standing_of(const connection& c, const channel& ch)
{
    const progress got = progress_of(c.agent.fd);
    if (!got.known || got.closed) return standing::broken_off;
    const std::uint64_t read = got.read - c.read_before;
    const std::uint64_t written = got.written - c.written_before;
    if (read == 0 && written == 0) return standing::at_rest;
    const auto number = static_cast<std::size_t>(c.agent.fd);
    if (number >= ch.marks_size) return written == 0 ? standing::unanswered : standing::broken_off;
    const rest_mark& mark = ch.marks[number];
    for (const rest_mark::point* rest : {&mark.next, &mark.before})
        if (written == rest->written.load(std::memory_order_acquire))
            return read == rest->read.load(std::memory_order_acquire) ? standing::at_rest
                                                                      : standing::unanswered;
    return standing::broken_off;
}

}  // namespace

void relay::lose(channel& ch)
{
    std::string answer;
    for (connection_list* list : {&handed_, &watched_}) {
        for (connection* c = list->front(); c != nullptr;) {
            connection* next = c->next;
            if (c->via == &ch) {
                const standing found = standing_of(*c, ch);
                wait_again(*c);
                if (c->now == phase::waiting && found == standing::broken_off) abort(*c);
                if (c->now == phase::waiting && found == standing::unanswered) {
                    if (answer.empty()) answer = make_refusal(proxy_went_away);
                    refuse(*c, answer);
                }
            }
            c = next;
        }
    }
    bury(ch);
}

void relay::bury(channel& ch)
{
    for (channel** at = &channels_; *at != nullptr; at = &(*at)->next)
        if (*at == &ch) {
            *at = ch.next;
            break;
        }
    if (&ch == channel_) channel_ = nullptr;
    ch.fd.reset();
    ch.next = dead_channels_;
    dead_channels_ = &ch;
}

}  // namespace keyhole::bridge
