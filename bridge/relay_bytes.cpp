// The half of the relay that moves bytes and ends connections; relay.cpp accepts, connects and keeps time.
#include "bridge/refusal.hpp"
#include "bridge/relay.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace keyhole::bridge {
namespace {

constexpr int turns_per_event = 16;  // 1 MiB, then the others
constexpr std::int64_t linger_ms = 5000;
constexpr std::int64_t look_again_ms[] = {2, 20, 200, 1000};

int queued(int fd, unsigned long what) noexcept
{
    int bytes = 0;
    return ::ioctl(fd, what, &bytes) == 0 ? bytes : 0;
}

}  // namespace

void relay::on_event(connection& c, side s, std::uint32_t events)
{
    if (c.now == phase::dead || c.via != nullptr) return;  // the event is older than that
    endpoint& e = s == side::agent ? c.agent : c.proxy;
    if (s == side::agent && (events & EPOLLERR) != 0) {
        // RST. Not left to the next read: while the proxy is slow there may be none.
        abort(c);
        return;
    }
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) e.readable = true;
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) e.peer_finished = true;
    if ((events & (EPOLLHUP | EPOLLERR)) != 0) e.peer_gone = true;
    if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) ask_for_room(c, e, s, false);
    work(c);
}

void relay::work(connection& c)
{
    switch (c.now) {
    case phase::dead:
        return;
    case phase::waiting:
        if (c.agent.peer_finished && agents_.is_orphan(c.agent.fd)) close(c);
        return;
    case phase::lingering:
        discard(c);
        return;
    case phase::resting:
        rest(c);
        return;
    case phase::handed:
        return;
    case phase::relaying:
    case phase::watched:
        break;
    }
    if (c.via != nullptr) return;
    if (pump(c, c.up, c.agent, c.proxy) == outcome::closed) return;
    if (pump(c, c.down, c.proxy, c.agent) == outcome::closed) return;
    if (c.down.done && may_begin_anew(c)) {
        begin_anew(c);
        return;
    }
    if (c.down.done && may_rest(c)) {
        begin_anew(c);
        c.renewals = 0;
        note_progress(c);
        move_to(c, phase::resting);
        rest(c);
        return;
    }
    if (c.down.done && answer_missing(c)) {
        refuse(c, make_refusal(proxy_went_away));
        return;
    }
    if (c.down.done && answer_broken_off(c)) {
        // A clean end would let some agents take it for whole. What is on its way to the agent is not lost by
        // it.
        if (queued(c.agent.fd, SIOCOUTQNSD) == 0)
            abort(c);
        else
            linger(c);
        return;
    }
    if (c.down.done && (c.up.done || c.proxy.peer_gone)) {
        if (c.up.source_ended)
            close(c);
        else
            linger(c);
        return;
    }
    if (c.now == phase::relaying && may_be_gone(c)) watch_agent(c);
}

relay::outcome relay::pump(connection& c, flow& f, endpoint& from, endpoint& to)
{
    for (int turn = 0; turn < turns_per_event; ++turn) {
        if (f.held.data != nullptr && write_held(c, f, to) == outcome::closed) return outcome::closed;
        if (f.held.data != nullptr || f.done) return outcome::open;
        if (f.source_ended) {
            // Not before the agent was told why there is no answer.
            if (&f != &c.down ||
                !(answer_missing(c) || answer_broken_off(c) || may_rest(c) || may_begin_anew(c)))
                ::shutdown(to.fd, SHUT_WR);
            f.done = true;
            return outcome::open;
        }
        if (!from.readable) return outcome::open;
        const ssize_t got = ::recv(from.fd, scratch_.get(), held_bytes::capacity, 0);
        if (got == 0) {
            f.source_ended = true;
            continue;
        }
        if (got < 0) {
            if (errno == EINTR) continue;
            if (errno != EAGAIN) return on_read_error(c, from, errno);
            from.readable = false;
            return outcome::open;
        }
        f.moved = true;
        const auto size = static_cast<std::size_t>(got);
        if (&f == &c.up)
            c.talk->asked({scratch_.get(), size});
        else
            c.talk->answered({scratch_.get(), size});
        // Less than asked for: the socket is empty, and the next byte is a new event.
        if (size < held_bytes::capacity && !from.peer_finished) from.readable = false;
        ssize_t put = ::send(to.fd, scratch_.get(), size, MSG_NOSIGNAL);
        if (put < 0 && errno != EAGAIN && errno != EINTR) return on_write_error(c, f, to);
        put = std::max<ssize_t>(put, 0);
        if (put == got) continue;
        f.held.data = buffers_.take();
        if (f.held.data == nullptr) {
            abort(c);
            return outcome::closed;
        }
        f.held.from = 0;
        f.held.to = static_cast<std::uint32_t>(got - put);
        std::memcpy(f.held.data, scratch_.get() + put, f.held.to);
        ask_for_room(c, to, &to == &c.agent ? side::agent : side::proxy, true);
        return outcome::open;
    }
    continue_later(c);
    return outcome::open;
}

relay::outcome relay::write_held(connection& c, flow& f, endpoint& to)
{
    while (f.held.from != f.held.to) {
        const ssize_t put = ::send(to.fd, f.held.data + f.held.from, f.held.to - f.held.from, MSG_NOSIGNAL);
        if (put > 0) {
            f.held.from += static_cast<std::uint32_t>(put);
            continue;
        }
        if (put < 0 && errno == EINTR) continue;
        if (put < 0 && errno != EAGAIN) return on_write_error(c, f, to);
        ask_for_room(c, to, &to == &c.agent ? side::agent : side::proxy, true);
        return outcome::open;
    }
    buffers_.give(std::exchange(f.held.data, nullptr));
    return outcome::open;
}

relay::outcome relay::on_write_error(connection& c, flow& f, const endpoint& to)
{
    if (&to == &c.agent) {
        abort(c);
        return outcome::closed;
    }
    // The proxy reads no more. What it said before that is still to be delivered: an early refusal of a large
    // request, for example.
    buffers_.give(std::exchange(f.held.data, nullptr));
    f.done = true;
    return outcome::open;
}

relay::outcome relay::on_read_error(connection& c, const endpoint& from, int)
{
    if (&from == &c.proxy && may_begin_anew(c)) {
        begin_anew(c);
        return outcome::closed;
    }
    if (&from == &c.proxy && answer_missing(c)) {
        refuse(c, make_refusal(proxy_went_away));
        return outcome::closed;
    }
    // From the agent: RST. From the proxy: it closed with request bytes unread, and all it wrote has been
    // passed on.
    const bool agent_is_sending =
        &from == &c.proxy && !c.up.source_ended &&
        (c.up.done || c.up.held.data != nullptr || queued(c.agent.fd, FIONREAD) > 0);
    // A reset would throw away the answer that an agent has yet to read, and break its write before it reads
    // it.
    if (agent_is_sending || (&from == &c.proxy && queued(c.agent.fd, SIOCOUTQ) > 0))
        linger(c);
    else
        abort(c);
    return outcome::closed;
}

constexpr std::uint8_t most_renewals =
    3;  // a proxy that closes every connection at once is not asked for ever

// The proxy ended before anything was said: another can have this connection as it is.
bool relay::may_begin_anew(const connection& c)
{
    return !c.up.moved && !c.down.moved && !c.up.source_ended && c.renewals < most_renewals;
}

void relay::begin_anew(connection& c)
{
    ++c.renewals;
    ::close(std::exchange(c.proxy.fd, -1));
    c.proxy = endpoint();
    c.up = flow();
    c.down = flow();
    c.talk.reset();
    c.due_ms = sys::now_ms() + settings_.connect_wait_ms;
    connect_again_ms_ = 0;
    move_to(c, phase::waiting);
}

// An agent that keeps connections may be sending its next request just now: closed, it would be lost without
// a word.
bool relay::may_rest(const connection& c) const
{
    return !draining_ && c.down.moved && c.up.held.data == nullptr && !c.up.source_ended && c.talk &&
           c.talk->now() == conversation::state::idle;
}

void relay::rest(connection& c)
{
    if (queued(c.agent.fd, FIONREAD) > 0) {
        c.due_ms = sys::now_ms() + settings_.connect_wait_ms;
        connect_again_ms_ = 0;
        move_to(c, phase::waiting);
    } else if (c.agent.peer_finished)
        close(c);
}

// The proxy ended although it was asked something, and of that answer it had said nothing.
bool relay::answer_missing(const connection& c)
{
    if (!c.down.moved) return c.up.moved;
    return c.talk && c.talk->now() == conversation::state::unanswered;
}

bool relay::answer_broken_off(const connection& c)
{
    return c.talk && c.talk->now() == conversation::state::answering && !c.talk->ends_with_stream();
}

// A FIN may be a close(); and the FIN of an agent whose bytes the proxy does not take is stuck behind them.
// Once the answer has ended there is nothing left to stop, only bytes to deliver (and the kernel's record of
// an agent's socket that has seen both FINs has no owner, gone or not).
bool relay::may_be_gone(const connection& c)
{
    return !c.down.done && (c.agent.peer_finished || c.up.held.data != nullptr);
}

void relay::watch_agent(connection& c)
{
    if (c.agent.peer_finished && agents_.is_orphan(c.agent.fd)) {
        if (c.via != nullptr)
            take_back(c);
        else
            close(c);
        return;
    }
    // close() sends its FIN just before the socket loses its owner, and an agent may die after it
    // half-closed: look again.
    c.looks = 0;
    c.due_ms = sys::now_ms() + look_again_ms[0];
    look_ms_ = watched_.empty() ? c.due_ms : std::min(look_ms_, c.due_ms);
    move_to(c, phase::watched);
}

void relay::look_at_watched(std::int64_t now)
{
    look_ms_ = INT64_MAX;
    for (connection* c = watched_.front(); c != nullptr;) {
        connection* next = c->next;
        if (c->via == nullptr && !may_be_gone(*c)) {
            move_to(*c, phase::relaying);
            c = next;
            continue;
        }
        if (c->due_ms <= now) {
            if (agents_.is_orphan(c->agent.fd)) {
                if (c->via != nullptr)
                    take_back(*c);
                else
                    close(*c);
                c = next;
                continue;
            }
            if (c->looks + 1U < std::size(look_again_ms)) ++c->looks;
            c->due_ms = now + look_again_ms[c->looks];
        }
        look_ms_ = std::min(look_ms_, c->due_ms);
        c = next;
    }
}

void relay::refuse(connection& c, std::string_view answer)
{
    ++refused_total_;
    if (!watch_agent_events(c)) {
        abort(c);
        return;
    }
    // There is room for it, unless the agent lets earlier answers lie.
    const ssize_t n = ::send(c.agent.fd, answer.data(), answer.size(), MSG_NOSIGNAL);
    if (n == static_cast<ssize_t>(answer.size()))
        linger(c);
    else
        abort(c);
}

void relay::turn_away(connection& c, std::string_view answer)
{
    if (c.written_before == 0 || queued(c.agent.fd, FIONREAD) > 0) {
        refuse(c, answer);
        return;
    }
    move_to(c, phase::resting);
    rest(c);
}

// The proxy is done with this connection. Closing with unread bytes of the agent would send RST, which can
// overtake the answer.
void relay::linger(connection& c)
{
    ::shutdown(c.agent.fd, SHUT_WR);
    if (c.proxy.fd >= 0) ::close(std::exchange(c.proxy.fd, -1));
    c.due_ms = sys::now_ms() + linger_ms;
    ++lingering_now_;
    move_to(c, phase::lingering);
    c.agent.readable = true;
    discard(c);
}

void relay::discard(connection& c)
{
    for (int turn = 0; turn < turns_per_event; ++turn) {
        if (!c.agent.readable) return;
        const ssize_t got = ::recv(c.agent.fd, scratch_.get(), held_bytes::capacity, 0);
        if (got > 0 || (got < 0 && errno == EINTR)) continue;
        if (got < 0 && errno == EAGAIN) {
            c.agent.readable = false;
            return;
        }
        close(c);
        return;
    }
    continue_later(c);
}

void relay::continue_later(connection& c)
{
    if (c.has_more) return;
    c.has_more = true;
    c.next_with_more = with_more_;
    with_more_ = &c;
}

void relay::abort(connection& c)
{
    if (c.via != nullptr) return close(c);  // the proxy's to end
    const struct ::linger reset{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(c.agent.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(c);
}

void relay::close(connection& c)
{
    const auto number = static_cast<std::size_t>(c.agent.fd);
    for (flow* f : {&c.up, &c.down})
        buffers_.give(std::exchange(f->held.data, nullptr));
    for (endpoint* e : {&c.agent, &c.proxy})
        if (e->fd >= 0) ::close(std::exchange(e->fd, -1));
    if (c.via != nullptr) {
        by_number_[number] = nullptr;
        --std::exchange(c.via, nullptr)->held;
    }
    list_of(c.now)->remove(c);
    if (c.now == phase::lingering) --lingering_now_;
    c.now = phase::dead;
    c.next = dead_;
    dead_ = &c;
    --open_;
    if (!accepting_) accept_again_ms_ = 0;  // a descriptor is free again
}

void relay::move_to(connection& c, phase p)
{
    list_of(c.now)->remove(c);
    c.now = p;
    list_of(p)->push_back(c);
}

connection_list* relay::list_of(phase p)
{
    switch (p) {
    case phase::waiting:
        return &waiting_;
    case phase::handed:
        return &handed_;
    case phase::watched:
        return &watched_;
    case phase::lingering:
        return &lingering_;
    case phase::resting:
        return &resting_;
    case phase::relaying:
    case phase::dead:
        break;
    }
    return &relaying_;
}

}  // namespace keyhole::bridge
