#include "bridge/locked_bytes.hpp"

#include "bridge/system.hpp"

#include <cerrno>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

namespace keyhole::sys {

locked_bytes::locked_bytes() noexcept
{
    void* page = ::mmap(nullptr, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return;
    // Each is a layer of its own: RLIMIT_MEMLOCK may be 0, and the other two still hold.
    ::mlock(page, capacity);
    ::madvise(page, capacity, MADV_DONTDUMP);
    ::madvise(page, capacity, MADV_DONTFORK);
    page_ = static_cast<char*>(page);
}

locked_bytes::~locked_bytes()
{
    clear();
    if (page_ != nullptr) ::munmap(page_, capacity);
}

bool locked_bytes::append(const void* data, std::size_t size) noexcept
{
    if (page_ == nullptr || size > capacity - size_) {
        clear();
        return false;
    }
    std::memcpy(page_ + size_, data, size);
    size_ += size;
    return true;
}

bool locked_bytes::read_from(int fd) noexcept
{
    while (page_ != nullptr && size_ < capacity) {
        const ssize_t n = ::read(fd, page_ + size_, capacity - size_);
        if (n == 0) return true;
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) break;
        size_ += static_cast<std::size_t>(n);
    }
    clear();
    return false;
}

void locked_bytes::trim_line_end() noexcept
{
    while (size_ != 0 && (page_[size_ - 1] == '\n' || page_[size_ - 1] == '\r'))
        page_[--size_] = '\0';
}

void locked_bytes::clear() noexcept
{
    if (page_ != nullptr) wipe(page_, size_);
    size_ = 0;
}

bool looks_like_token(std::string_view token) noexcept
{
    if (token.size() < 8 || token.size() > 512) return false;
    for (const char c : token)
        if (c < '!' || c > '~') return false;
    return true;
}

}  // namespace keyhole::sys
