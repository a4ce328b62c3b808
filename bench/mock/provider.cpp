#include "bench/mock/provider.hpp"

#include "bench/common/clock.hpp"
#include "bench/common/message.hpp"
#include "bench/mock/answers.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <stdexcept>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <utility>

namespace keyhole::bench {
namespace {

constexpr std::size_t scratch_size = 256 * 1024;
constexpr unsigned reads_a_turn = 2;
constexpr unsigned events_a_turn = 8;
constexpr std::uint64_t cached_tokens = 64;

}  // namespace

struct provider::connection final : message_sink {
    connection(unique_fd fd, SSL_CTX* context) : io{std::move(fd), context} {}

    void on_head(const message_head& head) override
    {
        target.assign(head.first_line);
        credential.assign(head.credential);
        script_text.assign(head.script);
        close_after = head.close;
        body_bytes = 0;
        first = last = 0;
    }
    void on_body(std::string_view piece) override
    {
        if (body_bytes == 0) first = piece.front();
        last = piece.back();
        body_bytes += piece.size();
    }

    transport io;
    message_reader reader{message_reader::kind::request};
    std::string target;
    std::string credential;
    std::string script_text;
    std::string out;  ///< what the socket did not take
    std::size_t out_at = 0;
    account* who = nullptr;
    usage_numbers usage;
    std::uint64_t body_bytes = 0;
    std::uint64_t events_left = 0;
    std::int64_t period = 0;
    std::int64_t next_event = 0;
    char first = 0;
    char last = 0;
    bool close_after = false;
    bool answering = false;
    bool fast = false;        ///< stands in fast_
    bool uploads = false;     ///< stands in uploads_
    bool to_the_end = false;  ///< the peer has closed: what is left is read until the socket says so
    bool timed = false;       ///< stands in timers_
    bool closed = false;
    bool writing = false;  ///< waits for room in the socket

    bool has_output() const noexcept { return out_at < out.size(); }
};

provider::provider(books& b, const script& by_default)
    : books_{b}, default_{by_default}, epoll_{::epoll_create1(EPOLL_CLOEXEC)}, scratch_(scratch_size)
{
    if (!epoll_) throw std::runtime_error{"no epoll set"};
}

provider::~provider() = default;

void provider::listen(const address& where, SSL_CTX* context)
{
    auto l = std::make_unique<listener>();
    l->fd = listen_on(where);
    l->context = context;
    l->tcp = where.is_tcp();
    epoll_event event{.events = EPOLLIN, .data = {.ptr = nullptr}};
    event.data.u64 = listeners_.size();
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, l->fd.get(), &event) != 0)
        throw std::runtime_error{"epoll_ctl"};
    listeners_.push_back(std::move(l));
}

void provider::run()
{
    // Small numbers name a listener, everything else is a connection's address.
    std::array<epoll_event, 512> ready{};
    for (;;) {
        timespec wait{};
        const bool bounded = wait_time(wait);
        const int n = ::epoll_pwait2(epoll_.get(), ready.data(), static_cast<int>(ready.size()),
                                     bounded ? &wait : nullptr, nullptr);
        if (n < 0 && errno != EINTR) throw std::runtime_error{"epoll_pwait2"};
        for (int i = 0; i < n; ++i) {
            const auto& event = ready[static_cast<std::size_t>(i)];
            if (event.data.u64 < listeners_.size())
                accept_from(*listeners_[event.data.u64]);
            else
                on_ready(*static_cast<connection*>(event.data.ptr), event.events);
        }
        run_timers();
        run_fast_streams();
        run_uploads();
        bury();
    }
}

void provider::accept_from(const listener& l)
{
    for (;;) {
        unique_fd fd{::accept4(l.fd.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)};
        if (!fd) return;
        if (l.tcp) send_at_once(fd.get());
        books_.accept();
        const auto slot = static_cast<std::size_t>(fd.get());
        if (connections_.size() <= slot) connections_.resize(slot + 1);
        connections_[slot] = std::make_unique<connection>(std::move(fd), l.context);
        epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                          .data = {.ptr = connections_[slot].get()}};
        ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, static_cast<int>(slot), &event);
    }
}

void provider::on_ready(connection& c, std::uint32_t events)
{
    if (c.closed) return;
    if ((events & EPOLLOUT) != 0 && c.has_output()) flush(c);
    if (c.closed || (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) == 0) return;
    c.to_the_end = c.to_the_end || (events & ~std::uint32_t{EPOLLIN | EPOLLOUT}) != 0;
    if (!c.uploads) read(c);
}

void provider::read(connection& c)
{
    unsigned reads = 0;
    for (bool more = true; (more || c.to_the_end) && !c.closed;) {
        if (reads++ == reads_a_turn) {
            uploads_.push_back(&c);
            c.uploads = true;
            return;
        }
        std::size_t n = 0;
        const auto result = c.io.read(scratch_.data(), scratch_.size(), n, more);
        if (result == outcome::would_block) break;
        if (result == outcome::ended) {
            close(c);
            break;
        }
        const auto state = c.reader.feed({scratch_.data(), n}, c);
        if (state == message_reader::state::broken) {
            books_.break_off();
            close(c);
            break;
        }
        if (state == message_reader::state::done && !c.answering) answer(c);
    }
}

/// A peer that sends as fast as it is read from must not keep the streams waiting.
void provider::run_uploads()
{
    const auto turn = std::exchange(uploads_, {});
    for (auto* c : turn) {
        c->uploads = false;
        if (!c->closed) read(*c);
    }
}

void provider::answer(connection& c)
{
    if (c.target.find(" /_bench/") != std::string::npos) return control(c);
    c.answering = true;
    c.who = books_.find(c.credential);
    script how = default_;
    text_.clear();
    if (c.who == nullptr) {
        books_.refuse();
        write_error(text_, "401 Unauthorized", "Incorrect API key provided");
    } else if (!c.script_text.empty() && !parse_script(c.script_text, how)) {
        write_error(text_, "400 Bad Request", "x-bench-script makes no sense");
    } else if (c.first != '{' || c.last != '}') {
        books_.break_off();
        write_error(text_, "400 Bad Request", "The body is no JSON object");
    } else {
        ++c.who->requests;
        c.who->body_bytes += c.body_bytes;
        c.usage = {.prompt = c.body_bytes,
                   .cached = std::min(cached_tokens, c.body_bytes),
                   .completion = 100 + sequence_++ % 64};
        c.events_left = how.events;
        c.period = how.period_ns;
        if (how.events != 0) return begin_stream(c);
        write_json_answer(text_, c.usage, c.close_after);
        send(c, text_);
        if (!c.closed) end_answer(c);
        return;
    }
    c.who = nullptr;
    send(c, text_);
    if (!c.closed) end_answer(c);
}

void provider::control(connection& c)
{
    std::string reply = "{}";
    if (c.target.find("/counters") != std::string::npos) reply = books_.as_json();
    if (c.target.find("/reset") != std::string::npos) books_.reset();
    if (c.target.find("/finish") != std::string::npos) {
        for (const auto& other : connections_) {
            if (other && !other->closed && other->answering && other->period != 0) end_stream(*other);
        }
    }
    text_.clear();
    write_control(text_, reply);
    send(c, text_);
    if (!c.closed) close(c);
}

void provider::begin_stream(connection& c)
{
    write_stream_head(text_, c.close_after);
    send(c, text_);
    if (c.closed) return;
    c.next_event = now_ns();
    if (write_events(c, c.period == 0 ? events_a_turn : 1) && c.period == 0) {
        c.fast = true;
        fast_.push_back(&c);
    }
}

bool provider::write_events(connection& c, unsigned most)
{
    for (unsigned i = 0; i < most && !c.closed; ++i) {
        if (c.has_output()) return false;  // the reader is slower: flush() goes on
        if (c.events_left == 0) {
            end_stream(c);
            return false;
        }
        if (c.period != 0 && c.next_event > now_ns()) break;
        --c.events_left;
        ++c.who->events;
        send(c, event_written_at(now_ns()));
        c.next_event += c.period;
    }
    if (!c.closed && c.period != 0 && !c.timed) {
        c.timed = true;
        timers_.push({c.next_event, &c});
    }
    return !c.closed;
}

void provider::end_stream(connection& c)
{
    text_.clear();
    write_usage_event(text_, c.usage);
    send(c, text_);
    if (!c.closed) send(c, stream_end());
    if (!c.closed) end_answer(c);
}

void provider::end_answer(connection& c)
{
    if (c.who != nullptr) {
        ++c.who->answered;
        c.who->prompt_tokens += c.usage.prompt;
        c.who->cached_tokens += c.usage.cached;
        c.who->completion_tokens += c.usage.completion;
    }
    c.who = nullptr;
    c.answering = false;
    c.period = 0;
    c.events_left = 0;
    c.reader.next();
    if (c.close_after && !c.has_output()) close(c);
}

void provider::send(connection& c, std::string_view bytes)
{
    while (!c.has_output() && !bytes.empty()) {
        std::size_t n = 0;
        const auto result = c.io.write(bytes, n);
        if (result == outcome::ended) return close(c);
        if (result == outcome::would_block) break;
        bytes.remove_prefix(n);
    }
    c.out.append(bytes);
}

void provider::flush(connection& c)
{
    while (c.has_output()) {
        std::size_t n = 0;
        const auto result = c.io.write(std::string_view{c.out}.substr(c.out_at), n);
        if (result == outcome::ended) return close(c);
        if (result == outcome::would_block) return;
        c.out_at += n;
    }
    c.out.clear();
    c.out_at = 0;
    if (!c.answering) {
        if (c.close_after) close(c);
    } else if (!c.fast && write_events(c, events_a_turn) && c.period == 0) {
        c.fast = true;
        fast_.push_back(&c);
    }
}

void provider::close(connection& c)
{
    if (c.closed) return;
    c.closed = true;
    if (c.who != nullptr) ++c.who->cut;
    const auto slot = static_cast<std::size_t>(c.io.fd());
    buried_.push_back(std::move(connections_[slot]));
    c.io.end();
}

void provider::bury()
{
    std::erase_if(buried_, [](const auto& c) { return !c->timed && !c->fast && !c->uploads; });
}

void provider::run_fast_streams()
{
    for (std::size_t i = 0; i < fast_.size();) {
        connection& c = *fast_[i];
        if (!c.closed && c.answering && write_events(c, events_a_turn)) {
            ++i;
            continue;
        }
        c.fast = false;
        fast_[i] = fast_.back();
        fast_.pop_back();
    }
}

void provider::run_timers()
{
    if (timers_.empty()) return;
    const auto now = now_ns();
    while (!timers_.empty() && timers_.top().at <= now) {
        connection& c = *timers_.top().whose;
        timers_.pop();
        c.timed = false;
        if (!c.closed && c.answering) write_events(c, 1);
    }
}

bool provider::wait_time(timespec& wait) const
{
    if (!fast_.empty() || !uploads_.empty()) return true;
    if (timers_.empty()) return false;
    wait = to_timespec(std::max<std::int64_t>(timers_.top().at - now_ns(), 0));
    return true;
}

}  // namespace keyhole::bench
