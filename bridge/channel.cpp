#include "bridge/channel.hpp"

#include <cerrno>
#include <cstring>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

namespace keyhole::bridge {

int pass_descriptor(int channel, std::uint32_t number, int descriptor) noexcept
{
    char text[proxy_message::size] = {'H'};
    for (unsigned i = 0; i < 4; ++i)
        text[4 + i] = static_cast<char>((number >> (8 * i)) & 0xffU);
    iovec from{text, sizeof text};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr m{};
    m.msg_iov = &from;
    m.msg_iovlen = 1;
    m.msg_control = control;
    m.msg_controllen = sizeof control;
    cmsghdr* head = CMSG_FIRSTHDR(&m);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(head), &descriptor, sizeof descriptor);
    ssize_t n = 0;
    do {
        n = ::sendmsg(channel, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? errno : 0;  // so small a message is sent whole
}

channel::~channel()
{
    if (marks != nullptr)
        ::munmap(const_cast<rest_mark*>(marks), marks_size * sizeof(rest_mark));  // NOLINT: it was mapped so
}

namespace {

void take_marks(channel& from, msghdr& m) noexcept
{
    const cmsghdr* head = CMSG_FIRSTHDR(&m);
    if (head == nullptr || head->cmsg_type != SCM_RIGHTS || head->cmsg_len != CMSG_LEN(sizeof(int))) return;
    int descriptor = -1;
    std::memcpy(&descriptor, CMSG_DATA(head), sizeof descriptor);
    const sys::unique_fd memory(descriptor);
    struct stat info{};
    if (from.marks != nullptr || ::fstat(descriptor, &info) != 0 || info.st_size <= 0) return;
    const std::size_t count = static_cast<std::size_t>(info.st_size) / sizeof(rest_mark);
    void* at = ::mmap(nullptr, count * sizeof(rest_mark), PROT_READ, MAP_SHARED, descriptor, 0);
    if (at == MAP_FAILED) return;
    from.marks = static_cast<const rest_mark*>(at);
    from.marks_size = count;
}

}  // namespace

int read_messages(channel& from, proxy_message* out) noexcept
{
    char text[channel::buffer_size];
    std::memcpy(text, from.begun, from.partial);
    iovec into{text + from.partial, sizeof text - from.partial};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr got{};
    got.msg_iov = &into;
    got.msg_iovlen = 1;
    got.msg_control = control;
    got.msg_controllen = CMSG_LEN(sizeof(int));
    ssize_t n = 0;
    do {
        n = ::recvmsg(from.fd.get(), &got, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n > 0) take_marks(from, got);
    if (n < 0 && errno == EAGAIN) return 0;
    if (n <= 0) {
        if (n == 0) errno = 0;
        return -1;
    }
    const std::size_t size = from.partial + static_cast<std::size_t>(n);
    int count = 0;
    std::size_t at = 0;
    for (; at + proxy_message::size <= size; at += proxy_message::size) {
        proxy_message& m = out[count++];
        m.word = static_cast<proxy_word>(text[at]);
        m.number = 0;
        for (unsigned i = 0; i < 4; ++i)
            m.number |= std::uint32_t{static_cast<unsigned char>(text[at + 4 + i])} << (8 * i);
    }
    from.partial = size - at;
    std::memcpy(from.begun, text + at, from.partial);
    return count;
}

progress progress_of(int fd) noexcept
{
    progress out;
    tcp_info info{};
    socklen_t size = sizeof info;
    constexpr std::size_t needed = offsetof(tcp_info, tcpi_bytes_received) + sizeof info.tcpi_bytes_received;
    if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 || size < needed) return out;
    int unread = 0;
    int unsent = 0;
    if (::ioctl(fd, SIOCINQ, &unread) != 0 || ::ioctl(fd, SIOCOUTQ, &unsent) != 0) return out;
    constexpr std::uint8_t established = 1;  // the kernel's numbers; its header and libc's exclude each other
    constexpr std::uint8_t agent_finished = 8;
    out.known = true;
    out.closed = info.tcpi_state != established && info.tcpi_state != agent_finished;
    const std::uint64_t end = info.tcpi_state == agent_finished ? 1 : 0;  // a FIN counts as a byte
    const std::uint64_t waiting = static_cast<std::uint64_t>(unread) + end;
    out.read = info.tcpi_bytes_received > waiting ? info.tcpi_bytes_received - waiting : 0;
    out.written = std::uint64_t{info.tcpi_bytes_acked} + static_cast<std::uint32_t>(unsent);
    return out;
}

}  // namespace keyhole::bridge
