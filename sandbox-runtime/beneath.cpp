#include "sandbox-runtime/beneath.hpp"

#include <cerrno>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace keyhole::runtime {

sys::unique_fd open_beneath(int directory, const std::string& name) noexcept
{
    constexpr int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
    open_how how{};
    how.flags = flags;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
    sys::unique_fd fd(static_cast<int>(::syscall(SYS_openat2, directory, name.c_str(), &how, sizeof how)));
    // Kernels before 5.6, and seccomp profiles that do not know it.
    if (fd || (errno != ENOSYS && errno != EPERM)) return fd;
    return sys::unique_fd(::openat(directory, name.c_str(), flags | O_NOFOLLOW));
}

}  // namespace keyhole::runtime
