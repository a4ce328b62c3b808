#include "bridge/relay.hpp"

#include "bridge/refusal.hpp"
#include "bridge/upstream.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <new>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

namespace keyhole::bridge {
namespace {

// What an epoll event belongs to, in the low bits of its pointer: all that is pointed to is aligned to four
// bytes at least. 0 and 1 are a connection's sides; of 3 the address of the signals' descriptor tells.
constexpr std::uintptr_t tag_mask = 3;
constexpr std::uintptr_t tag_listener = 2;

constexpr int events_per_turn = 256;
constexpr int accepts_per_turn = 64;
constexpr std::uint32_t refused_at_once =
    64;  // beyond the limit, so many may be told so at a time; then accepting pauses
constexpr int first_accept_delay_ms = 100;
constexpr int last_accept_delay_ms = 5000;
constexpr int last_connect_delay_ms = 50;
constexpr std::int64_t log_interval_ms = 10'000;

void set(int fd, int level, int option, int value) noexcept
{
    ::setsockopt(fd, level, option, &value, sizeof value);
}

// Linux copies these from the listening socket to each accepted one.
void prepare_listener(int fd) noexcept
{
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 60);
    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 15);
    set(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
}

sys::unique_fd keep_one_back() noexcept
{
    return sys::unique_fd(::open("/", O_PATH | O_CLOEXEC));
}

// Each connection takes two descriptors; the soft limit is raised as far as it goes first.
std::uint32_t connections_allowed(std::uint32_t wanted) noexcept
{
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return wanted;
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    constexpr rlim_t own = 16 + 2 * refused_at_once;
    const rlim_t possible = limit.rlim_cur > own + 2 ? (limit.rlim_cur - own) / 2 : 1;
    return possible < wanted ? static_cast<std::uint32_t>(possible) : wanted;
}

}  // namespace

epoll_event make_event(std::uint32_t events, void* about, std::uintptr_t tag) noexcept
{
    epoll_event event{};
    event.events = events;
    event.data.ptr = static_cast<char*>(about) + tag;
    return event;
}

relay::relay(const options& settings, std::vector<sys::unique_fd> listeners, std::string_view preface,
             std::string_view greeting)
    : settings_(settings)
    , preface_(preface)
    , greeting_(greeting)
    , listeners_(std::move(listeners))
    , scratch_(new(std::nothrow) char[held_bytes::capacity])
    , random_(static_cast<std::uint32_t>(::getpid()) | 1U)
{
    settings_.max_connections = connections_allowed(settings_.max_connections);
}

relay::~relay()
{
    for (connection_list* list : {&waiting_, &handed_, &relaying_, &resting_, &watched_, &lingering_})
        while (!list->empty())
            close(*list->front());
    while (dead_ != nullptr) {
        connection* next = dead_->next;
        delete dead_;
        dead_ = next;
    }
    for (channel** list : {&channels_, &dead_channels_})
        while (*list != nullptr)
            delete std::exchange(*list, (*list)->next);
}

bool relay::open()
{
    if (!scratch_) {
        errno = ENOMEM;
        return false;
    }
    epoll_ = sys::unique_fd(::epoll_create1(EPOLL_CLOEXEC));
    if (!epoll_) return false;
    reserve_ = keep_one_back();
    for (sys::unique_fd& listener : listeners_) {
        prepare_listener(listener.get());
        epoll_event event = make_event(EPOLLIN, &listener, tag_listener);
        if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, listener.get(), &event) != 0) return false;
    }
    sigset_t handled;
    ::sigemptyset(&handled);
    for (const int signal : {SIGTERM, SIGINT, SIGUSR1})
        ::sigaddset(&handled, signal);
    ::sigprocmask(SIG_BLOCK, &handled, nullptr);
    ::signal(SIGHUP, SIG_IGN);
    ::signal(SIGPIPE, SIG_IGN);
    signals_ = sys::unique_fd(::signalfd(-1, &handled, SFD_NONBLOCK | SFD_CLOEXEC));
    epoll_event event = make_event(EPOLLIN, &signals_, tag_other);
    return signals_ && ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, signals_.get(), &event) == 0;
}

int relay::run()
{
    epoll_event events[events_per_turn];
    while (!stop_ && !(draining_ && open_ == 0)) {
        const int n = ::epoll_wait(epoll_.get(), events, events_per_turn, next_timeout());
        if (n < 0 && errno != EINTR) return sys::exit_os_error;
        for (int i = 0; i < n; ++i) {
            char* data = static_cast<char*>(events[i].data.ptr);
            const std::uintptr_t tag = reinterpret_cast<std::uintptr_t>(data) & tag_mask;
            if (tag == tag_listener)
                on_accept(*reinterpret_cast<sys::unique_fd*>(data - tag));
            else if (tag == tag_other && data - tag == static_cast<void*>(&signals_))
                on_signal();
            else if (tag == tag_other)
                on_channel(*reinterpret_cast<channel*>(data - tag), events[i].events);
            else
                on_event(*reinterpret_cast<connection*>(data - tag), static_cast<side>(tag),
                         events[i].events);
        }
        on_timers();
        if (!reserve_) reserve_ = keep_one_back();
        for (connection* c = std::exchange(with_more_, nullptr); c != nullptr;) {
            connection* next = std::exchange(c->next_with_more, nullptr);
            c->has_more = false;
            work(*c);
            c = next;
        }
        // Not before: events of this batch may still point to them.
        while (dead_ != nullptr) {
            connection* next = dead_->next;
            delete dead_;
            dead_ = next;
        }
        while (dead_channels_ != nullptr)
            delete std::exchange(dead_channels_, dead_channels_->next);
    }
    return failed_ ? sys::exit_os_error : sys::exit_ok;
}

void relay::on_signal()
{
    signalfd_siginfo info{};
    while (::read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
        if (info.ssi_signo == SIGUSR1)
            sys::say({"open ", sys::decimal(open_), ", accepted ",
                      sys::decimal(static_cast<std::int64_t>(accepted_total_)), ", handed over ",
                      sys::decimal(static_cast<std::int64_t>(handed_total_)), ", refused ",
                      sys::decimal(static_cast<std::int64_t>(refused_total_))});
        else if (draining_)
            stop_ = true;
        else
            start_draining();
    }
}

void relay::start_draining()
{
    // Whoever has connected already is served.
    for (const sys::unique_fd& listener : listeners_)
        on_accept(listener);
    draining_ = true;
    drain_until_ms_ = sys::now_ms() + settings_.drain_ms;
    listeners_.clear();
    // Those that the proxy serves need no bridge, and those that nobody serves none either.
    for (connection_list* list : {&handed_, &resting_})
        while (!list->empty())
            close(*list->front());
}

void relay::on_accept(const sys::unique_fd& listener)
{
    for (int i = 0; i < accepts_per_turn && accepting_ && !draining_; ++i) {
        const int fd = ::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            accept_delay_ms_ = 0;
            accepted(fd);
            continue;
        }
        if ((errno == EMFILE || errno == ENFILE) && !resting_.empty()) {
            close(*resting_.front());
            continue;
        }
        if ((errno == EMFILE || errno == ENFILE) && accept_on_reserve(listener)) continue;
        switch (errno) {
        case EAGAIN:
            return;
        case EINTR:
        case ECONNABORTED:
            continue;
        case EBADF:
        case EINVAL:
        case ENOTSOCK:
            sys::complain({"the listening socket is broken (errno ", sys::decimal(errno), ")"});
            failed_ = stop_ = true;
            return;
        default:
            // EMFILE, ENFILE, ENOMEM, ENOBUFS and whatever the network stack reports through accept(2): all
            // pass.
            if (accept_delay_ms_ == 0)
                sys::say(
                    {"cannot accept a connection for now (errno ", sys::decimal(errno), "), trying again"});
            accept_delay_ms_ = std::clamp(accept_delay_ms_ * 2, first_accept_delay_ms, last_accept_delay_ms);
            pause_accepting(accept_delay_ms_);
        }
    }
}

bool relay::accept_on_reserve(const sys::unique_fd& listener)
{
    const int error = errno;
    const bool had_one = bool(reserve_);
    reserve_.reset();
    const int fd = had_one ? ::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC) : -1;
    if (fd < 0) {
        errno = error;
        return false;
    }
    accept_delay_ms_ = 0;
    accepted(fd, true);
    return true;
}

void relay::watch_listeners(bool wanted)
{
    accepting_ = wanted;
    for (sys::unique_fd& listener : listeners_) {
        epoll_event event = make_event(wanted ? EPOLLIN : 0U, &listener, tag_listener);
        ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, listener.get(), &event);
    }
}

void relay::pause_accepting(int delay_ms)
{
    accept_again_ms_ = sys::now_ms() + delay_ms;
    watch_listeners(false);
}

void relay::accepted(int fd, bool is_last)
{
    ++accepted_total_;
    auto* fresh = new (std::nothrow) connection;
    if (fresh == nullptr) {
        ::close(fd);
        pause_accepting(first_accept_delay_ms);
        return;
    }
    connection& c = *fresh;
    c.agent.fd = fd;
    ++open_;
    c.now = phase::waiting;
    waiting_.push_back(c);
    if (is_last) {
        refuse(c, make_refusal(explain_upstream(settings_.socket, EMFILE)));
        return;
    }
    // Nothing ends a connection that rests but its agent: where places run short, the one that has rested
    // longest makes room.
    if (open_ - lingering_now_ > settings_.max_connections && !resting_.empty()) close(*resting_.front());
    if (open_ - lingering_now_ > settings_.max_connections) {
        refuse(c, make_refusal({"too_many_connections",
                                "all " + std::to_string(settings_.max_connections) +
                                    " connections of this sandbox are in use",
                                "close idle connections, or raise KEYHOLE_MAX_CONNECTIONS "
                                "(--max-connections) and the open-files limit"}));
        if (open_ >= settings_.max_connections + refused_at_once) pause_accepting(first_accept_delay_ms);
        return;
    }
    const std::int64_t now = sys::now_ms();
    c.due_ms = now + settings_.connect_wait_ms;
    // Others wait already: the timer tries for all of them.
    if (waiting_.front() == &c) {
        connect_delay_ms_ = 0;
        try_waiting();
    }
    if (c.now == phase::waiting && !watch_agent_events(c)) abort(c);
}

void relay::try_waiting()
{
    while (!waiting_.empty()) {
        connection& first = *waiting_.front();
        if (first.agent.peer_finished && agents_.is_orphan(first.agent.fd)) {
            close(first);
            continue;
        }
        const handing how = hand_over(first);
        if (how == handing::done) continue;
        if (how == handing::later) {
            wait_for_channel();
            return;
        }
        sys::unique_fd proxy;
        if (how == handing::relay_it) proxy = connect_upstream(settings_.socket);
        const int error = errno;
        if (proxy) {
            log_proxy_state(true, 0);
            connect_delay_ms_ = 0;
            start_relaying(first, std::move(proxy));
            continue;
        }
        log_proxy_state(false, error);
        // Who comes back may be another, which takes descriptors.
        if (relay_until_ms_ != INT64_MAX) relay_until_ms_ = 0;
        const std::int64_t now = sys::now_ms();
        std::string answer;
        while (!waiting_.empty() && (!is_worth_waiting(error) || waiting_.front()->due_ms <= now)) {
            if (answer.empty()) answer = make_refusal(explain_upstream(settings_.socket, error));
            turn_away(*waiting_.front(), answer);
        }
        // Doubling, with a quarter of jitter either way, so that a hundred sandboxes don't greet a new proxy
        // in step.
        connect_delay_ms_ = std::clamp(connect_delay_ms_ * 2, 1, last_connect_delay_ms);
        random_ = random_ * 1'664'525U + 1'013'904'223U;
        const int spread = connect_delay_ms_ / 2 + 1;
        connect_again_ms_ =
            now + connect_delay_ms_ - connect_delay_ms_ / 4 + static_cast<int>(random_ >> 16) % spread;
        return;
    }
}

void relay::log_proxy_state(bool reachable, int error)
{
    if (reachable == proxy_was_reachable_ && (reachable || error == last_connect_error_)) return;
    last_connect_error_ = error;
    const std::int64_t now = sys::now_ms();
    const bool quiet = logged_ms_ != 0 && now - logged_ms_ < log_interval_ms;
    proxy_was_reachable_ = reachable;
    if (quiet) return;
    logged_ms_ = now;
    if (reachable) {
        sys::say({"the proxy answers again"});
        return;
    }
    const upstream_problem problem = explain_upstream(settings_.socket, error);
    sys::say({problem.cause, "; ", problem.remedy});
}

void relay::start_relaying(connection& c, sys::unique_fd proxy)
{
    c.proxy = endpoint();  // an event of an earlier one may have come since
    c.proxy.fd = proxy.release();
    c.talk.reset(new (std::nothrow) conversation);
    move_to(c, phase::relaying);
    if (!c.talk || !watch_agent_events(c) || !watch(c, c.proxy.fd, side::proxy)) {
        abort(c);
        return;
    }
    if (!preface_.empty()) {
        // A new socket has room for it. If it has not, half a header must not be followed by the agent's
        // bytes.
        const ssize_t n = ::send(c.proxy.fd, preface_.data(), preface_.size(), MSG_NOSIGNAL);
        if (n != static_cast<ssize_t>(preface_.size())) {
            abort(c);
            return;
        }
    }
    if (c.agent.readable || c.agent.peer_finished) work(c);
}

bool relay::watch_agent_events(connection& c)
{
    if (!c.registered) c.registered = watch(c, c.agent.fd, side::agent);
    return c.registered;
}

bool relay::watch(connection& c, int fd, side s)
{
    epoll_event event = make_event(EPOLLIN | EPOLLRDHUP | EPOLLET, &c, static_cast<std::uintptr_t>(s));
    return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

// EPOLLOUT only while something is held: otherwise each read of the other side would wake us for nothing.
void relay::ask_for_room(connection& c, endpoint& e, side s, bool wanted)
{
    if (e.waits_for_room == wanted) return;
    e.waits_for_room = wanted;
    const std::uint32_t events = EPOLLIN | EPOLLRDHUP | EPOLLET | (wanted ? EPOLLOUT : 0U);
    epoll_event event = make_event(events, &c, static_cast<std::uintptr_t>(s));
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, e.fd, &event);
}

int relay::next_timeout() const
{
    if (with_more_ != nullptr) return 0;
    std::int64_t due = INT64_MAX;
    if (!waiting_.empty()) due = std::min(due, connect_again_ms_);
    if (!accepting_) due = std::min(due, accept_again_ms_);
    if (!watched_.empty()) due = std::min(due, look_ms_);
    if (!lingering_.empty()) due = std::min(due, lingering_.front()->due_ms);
    if (draining_) due = std::min(due, drain_until_ms_);
    if (due == INT64_MAX) return -1;
    return static_cast<int>(std::clamp<std::int64_t>(due - sys::now_ms(), 0, 60'000));
}

void relay::on_timers()
{
    if (waiting_.empty() && watched_.empty() && lingering_.empty() && accepting_ && !draining_) return;
    const std::int64_t now = sys::now_ms();
    on_greeting_limit(now);
    if (!waiting_.empty() && connect_again_ms_ <= now) try_waiting();
    if (!accepting_ && accept_again_ms_ <= now) {
        if (open_ < settings_.max_connections + refused_at_once)
            watch_listeners(true);
        else
            accept_again_ms_ = now + first_accept_delay_ms;
    }
    if (!watched_.empty() && look_ms_ <= now) look_at_watched(now);
    while (!lingering_.empty() && lingering_.front()->due_ms <= now)
        close(*lingering_.front());
    if (draining_ && drain_until_ms_ <= now) stop_ = true;
    if (!stop_) return;
    for (connection_list* list : {&waiting_, &handed_, &relaying_, &resting_, &watched_, &lingering_})
        while (!list->empty())
            abort(*list->front());
}

}  // namespace keyhole::bridge
