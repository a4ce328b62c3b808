// A session token's home: pages that are never swapped, never dumped, never inherited by a child, and wiped
// at the end. TOKEN_STAYS_HOME. One owner, one thread.
#pragma once

#include <cstddef>
#include <string_view>

namespace keyhole::sys {

class locked_bytes {
public:
    static constexpr std::size_t capacity = 4096;

    locked_bytes() noexcept;
    ~locked_bytes();
    locked_bytes(const locked_bytes&) = delete;
    locked_bytes& operator=(const locked_bytes&) = delete;

    /// False when the bytes do not fit or there is no memory; what fitted is then wiped.
    bool append(const void* data, std::size_t size) noexcept;
    /// Everything the descriptor has, from its current place to its end.
    bool read_from(int fd) noexcept;
    /// Without the line ends that `echo` and editors leave behind.
    void trim_line_end() noexcept;
    void clear() noexcept;

    std::string_view view() const noexcept { return {page_, size_}; }
    bool empty() const noexcept { return size_ == 0; }

private:
    char* page_ = nullptr;
    std::size_t size_ = 0;
};

/// What the proxy accepts as a token: 8 to 512 visible ASCII bytes.
bool looks_like_token(std::string_view token) noexcept;

}  // namespace keyhole::sys
