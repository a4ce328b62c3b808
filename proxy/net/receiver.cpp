#include "proxy/net/receiver.hpp"

#include <boost/asio/error.hpp>

#include <array>
#include <cerrno>
#include <cstring>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace keyhole::proxy {
namespace {

struct received {
    ssize_t n = -1;
    bool all = false;  ///< the kernel says that nothing is left, not even the end
};

received receive_into(int socket, asio::mutable_buffer to) noexcept
{
    ::iovec part{to.data(), to.size()};
    alignas(::cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control;
    ::msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    received out;
    do {
        out.n = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (out.n < 0 && errno == EINTR);
    if (out.n <= 0) return out;
    const ::cmsghdr* said = CMSG_FIRSTHDR(&message);
    if (said != nullptr && said->cmsg_level == IPPROTO_TCP && said->cmsg_type == TCP_CM_INQ) {
        int left = 0;
        std::memcpy(&left, CMSG_DATA(said), sizeof left);
        out.all = left == 0;
    }
    return out;
}

}  // namespace

/// Asio's view of it: asked to perform when the socket may have something, completed afterwards.
struct receiver::operation : asio::detail::reactor_op {
    explicit operation(receiver* r) : reactor_op(error_code(), &attempt, &complete_it), whose(r) {}

    static status attempt(reactor_op* base)
    {
        auto* op = static_cast<operation*>(base);
        if (op->whose == nullptr) return done;
        const auto got = receive_into(op->socket, op->where.borrow(op->owner));
        if (got.n < 0 && (errno == EAGAIN)) {
            op->where.give_back(op->owner);
            return not_done;
        }
        op->bytes_transferred_ = got.n > 0 ? static_cast<std::size_t>(got.n) : 0;
        if (got.n == 0)
            op->ec_ = asio::error::eof;
        else if (got.n < 0)
            op->ec_.assign(errno, boost::system::system_category());
        return got.all || got.n <= 0 ? done_and_exhausted : done;
    }

    static void complete_it(void* loop, asio::detail::operation* base, const error_code&, std::size_t)
    {
        auto* op = static_cast<operation*>(base);
        op->under_way = false;
        if (op->whose == nullptr)
            delete op;
        else if (loop != nullptr)
            op->whose->finish(op->ec_, op->bytes_transferred_);
    }

    receiver* whose;  ///< nullptr: it is gone
    int socket = -1;
    room where{};
    void* owner = nullptr;
    bool under_way = false;
};

receiver::receiver(asio::io_context& loop)
    : reactor_(asio::use_service<reactor>(loop)), op_(new operation(this))
{
}

receiver::~receiver()
{
    if (op_->under_way)
        op_->whose = nullptr;  // the loop deletes it
    else
        delete op_;
}

void receiver::prepare(int connected_tcp) noexcept
{
    const int on = 1;
    ::setsockopt(connected_tcp, IPPROTO_TCP, TCP_INQ, &on, sizeof on);
}

void receiver::start(int socket, reactor::per_descriptor_data& data, room where, void* owner)
{
    op_->socket = socket;
    op_->where = where;
    op_->owner = owner;
    op_->ec_ = {};
    op_->bytes_transferred_ = 0;
    op_->under_way = true;
    reactor_.start_op(reactor::read_op, socket, data, op_, false, true);
}

void receiver::finish(const error_code& ec, std::size_t bytes)
{
    error_ = ec;
    bytes_ = bytes;
    auto next = std::move(*waiting_);
    waiting_.reset();
    std::move(next)();
}

}  // namespace keyhole::proxy
