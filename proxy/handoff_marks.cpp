#include "proxy/handoff_marks.hpp"

#include <cstring>
#include <fcntl.h>
#include <new>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include <utility>

namespace keyhole::proxy {
namespace {

constexpr std::size_t bytes = handoff_marks::count * sizeof(handoff_mark);
// Neither end can take the memory away from under the other; and with FUTURE_WRITE only this mapping writes.
constexpr int future_write = 0x0010;  // F_SEAL_FUTURE_WRITE, Linux 5.1
constexpr int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | future_write;

}  // namespace

std::unique_ptr<handoff_marks> handoff_marks::make() noexcept
{
    const int fd = ::memfd_create("keyhole-hand-off", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) return nullptr;
    void* memory = MAP_FAILED;
    if (::ftruncate(fd, static_cast<off_t>(bytes)) == 0)
        memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED || ::fcntl(fd, F_ADD_SEALS, seals) != 0) {
        if (memory != MAP_FAILED) ::munmap(memory, bytes);
        ::close(fd);
        return nullptr;
    }
    // Fresh memory is zeros, which is what a mark begins as.
    auto* made = new (std::nothrow) handoff_marks(fd, static_cast<handoff_mark*>(memory));
    if (made == nullptr) {
        ::munmap(memory, bytes);
        ::close(fd);
    }
    return std::unique_ptr<handoff_marks>(made);
}

handoff_marks::~handoff_marks()
{
    ::munmap(first_, bytes);
    if (descriptor_ >= 0) ::close(descriptor_);
}

bool handoff_marks::send_with(int channel, const char* text, std::size_t size) noexcept
{
    iovec from{const_cast<char*>(text), size};
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
    std::memcpy(CMSG_DATA(head), &descriptor_, sizeof descriptor_);
    const bool sent = ::sendmsg(channel, &m, MSG_DONTWAIT | MSG_NOSIGNAL) == static_cast<ssize_t>(size);
    ::close(std::exchange(descriptor_, -1));
    return sent;
}

}  // namespace keyhole::proxy
