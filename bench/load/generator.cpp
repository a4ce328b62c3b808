#include "bench/load/generator.hpp"

#include "bench/common/clock.hpp"
#include "bench/load/request.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <limits>
#include <stdexcept>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <system_error>
#include <unistd.h>

namespace keyhole::bench {
namespace {

constexpr std::size_t scratch_size = 256 * 1024;
constexpr std::int64_t forever = std::numeric_limits<std::int64_t>::max();
// One send where the request is small, a gathered one where copying the body would cost.
constexpr std::size_t small_request = 64 * 1024;

std::int64_t to_ns(double seconds) noexcept
{
    return static_cast<std::int64_t>(seconds * 1e9);
}

}  // namespace

struct generator::connection {
    connection(const plan& p, totals& t) : check{p, t} {}

    unique_fd fd;
    message_reader reader{message_reader::kind::response};
    answer check;
    std::size_t sent = 0;
    bool busy = false;
    bool counted = false;  ///< its answer has begun (hold)
};

generator::generator(const plan& p)
    : plan_{p}
    , head_{request_head(p)}
    , body_{request_body(p)}
    , epoll_{::epoll_create1(EPOLL_CLOEXEC)}
    , scratch_(scratch_size)
{
    if (head_.size() + body_.size() <= small_request) {
        head_ += body_;
        body_.clear();
    }
    for (std::uint64_t i = 0; i < plan_.connections; ++i) {
        connections_.push_back(std::make_unique<connection>(plan_, totals_));
        if (!plan_.new_connections) open(*connections_.back());
        idle_.push_back(connections_.back().get());
    }
    std::reverse(idle_.begin(), idle_.end());
}

generator::~generator() = default;

double generator::seconds() const noexcept
{
    return static_cast<double>(last_answer_ - began_) / 1e9;
}

void generator::open(connection& c)
{
    c.fd.reset();
    c.fd = connect_to(plan_.target);
    epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data = {.ptr = &c}};
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, c.fd.get(), &event) != 0)
        throw std::runtime_error{"epoll_ctl"};
}

bool generator::may_start(std::int64_t now) const noexcept
{
    if (plan_.hold) return started_ < plan_.connections;
    if (plan_.requests != 0) return started_ < plan_.requests;
    if (plan_.rate > 0) return static_cast<double>(started_) < plan_.rate * plan_.seconds;
    return now < began_ + to_ns(plan_.seconds);
}

std::int64_t generator::next_due() const noexcept
{
    if (plan_.rate <= 0) return began_;
    return began_ + to_ns(static_cast<double>(started_) / plan_.rate);
}

void generator::run()
{
    began_ = last_answer_ = now_ns();
    for (;;) {
        start_what_is_due();
        const auto now = now_ns();
        if (plan_.hold && begun_answers_ == plan_.connections) {
            hold();
            break;
        }
        if (!may_start(now) && under_way_ == 0) break;
        if (now > began_ + to_ns(plan_.seconds + plan_.patience)) {
            faults_["no answer when patience ended"] += under_way_;
            break;
        }
        wait_and_handle(may_start(now) && !idle_.empty() ? next_due() : now + to_ns(1));
    }
}

void generator::start_what_is_due()
{
    while (!idle_.empty()) {
        const auto now = now_ns();
        if (!may_start(now)) return;
        const auto due = plan_.rate > 0 ? next_due() : now;
        if (due > now) return;
        connection* const c = idle_.back();
        idle_.pop_back();
        start(*c, due);
    }
}

void generator::start(connection& c, std::int64_t due)
{
    ++started_;
    ++under_way_;
    c.busy = true;
    c.sent = 0;
    c.reader.next();
    c.check.begin(due, due >= began_ + to_ns(plan_.warmup));
    try {
        if (!c.fd) open(c);
        push(c);
    } catch (const std::system_error& e) {
        fail(c, e.what());
    }
}

void generator::push(connection& c)
{
    const auto whole = head_.size() + body_.size();
    while (c.sent < whole) {
        std::array<iovec, 2> parts{};
        std::size_t n = 0;
        if (c.sent < head_.size()) parts[n++] = {head_.data() + c.sent, head_.size() - c.sent};
        const auto of_body = c.sent > head_.size() ? c.sent - head_.size() : 0;
        if (of_body < body_.size()) parts[n++] = {body_.data() + of_body, body_.size() - of_body};
        msghdr message{};
        message.msg_iov = parts.data();
        message.msg_iovlen = n;
        const auto sent = ::sendmsg(c.fd.get(), &message, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EINTR) continue;
            // A refusal may come before all of the body went out: the answer tells.
            if (errno != EAGAIN && errno != EPIPE && errno != ECONNRESET) fail(c, "cannot send");
            return;
        }
        c.sent += static_cast<std::size_t>(sent);
    }
}

void generator::on_ready(connection& c, std::uint32_t events)
{
    if ((events & EPOLLOUT) != 0 && c.busy && c.sent < head_.size() + body_.size()) push(c);
    if (c.fd && (events & ~std::uint32_t{EPOLLOUT}) != 0)
        read(c, (events & ~std::uint32_t{EPOLLIN | EPOLLOUT}) != 0);
}

void generator::read(connection& c, bool to_the_end)
{
    for (bool more = true; c.fd && (more || to_the_end);) {
        const auto got = ::recv(c.fd.get(), scratch_.data(), scratch_.size(), 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (got <= 0) {
            c.fd.reset();
            if (c.busy)
                fail(c, got == 0 ? "the connection ended before the answer did" : "the connection was reset");
            return;
        }
        const auto n = static_cast<std::size_t>(got);
        more = n == scratch_.size();
        if (!c.busy) return fail(c, "bytes that no request asked for");
        c.check.bytes_came(now_ns());
        const auto state = c.reader.feed({scratch_.data(), n}, c.check);
        if (!c.counted && c.check.has_begun()) {
            c.counted = true;
            if (plan_.stream) ++begun_answers_;
        }
        if (state == message_reader::state::broken) return fail(c, "the answer is not HTTP");
        if (state == message_reader::state::done) complete(c);
    }
}

void generator::complete(connection& c)
{
    if (const auto fault = c.check.finish(); !fault.empty()) return fail(c, fault);
    if (!plan_.stream) ++begun_answers_;
    if (plan_.new_connections || c.check.wants_close()) c.fd.reset();
    finished(c);
}

void generator::fail(connection& c, const std::string& why)
{
    ++faults_[why];
    c.fd.reset();
    if (c.busy) finished(c);
}

void generator::finished(connection& c)
{
    last_answer_ = now_ns();
    c.busy = false;
    --under_way_;
    if (!plan_.hold) idle_.push_back(&c);
}

void generator::wait_and_handle(std::int64_t until)
{
    std::array<epoll_event, 512> ready{};
    const auto wait = to_timespec(std::max<std::int64_t>(until - now_ns(), 0));
    const int n = ::epoll_pwait2(epoll_.get(), ready.data(), static_cast<int>(ready.size()),
                                 until == forever ? nullptr : &wait, nullptr);
    if (n < 0 && errno != EINTR) throw std::runtime_error{"epoll_pwait2"};
    for (int i = 0; i < n; ++i) {
        const auto& event = ready[static_cast<std::size_t>(i)];
        if (event.data.ptr != nullptr) on_ready(*static_cast<connection*>(event.data.ptr), event.events);
    }
}

void generator::hold()
{
    std::printf("{\"holding\":%zu}\n", connections_.size());
    std::fflush(stdout);
    // Streams go on while the caller looks at the target; a line on standard input (or its end) says that it
    // has.
    epoll_event event{.events = EPOLLIN, .data = {.ptr = nullptr}};
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, STDIN_FILENO, &event);
    for (bool told = false; !told;) {
        std::array<epoll_event, 512> ready{};
        const int n = ::epoll_wait(epoll_.get(), ready.data(), static_cast<int>(ready.size()), -1);
        for (int i = 0; i < n; ++i) {
            const auto& one = ready[static_cast<std::size_t>(i)];
            if (one.data.ptr == nullptr)
                told = true;
            else
                on_ready(*static_cast<connection*>(one.data.ptr), one.events);
        }
    }
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, STDIN_FILENO, nullptr);
    const auto limit = now_ns() + to_ns(plan_.patience);
    while (under_way_ != 0 && now_ns() < limit)
        wait_and_handle(now_ns() + to_ns(0.2));
    if (under_way_ != 0) faults_["no answer when patience ended"] += under_way_;
}

}  // namespace keyhole::bench
