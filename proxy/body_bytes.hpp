// A request's body as it is held: bytes that grow with what arrives, never filled with zeros first. Large
// ones come from the worker's kept buffers, since fresh memory costs a page fault every 4 KiB. Thread rule:
// its worker.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace keyhole::proxy {

/// A few large buffers of a worker, between requests. Those that nobody used for a while are given back.
class large_buffers {
public:
    static constexpr std::size_t smallest = 64 * 1024;

    struct buffer {
        std::unique_ptr<char[]> bytes;
        std::size_t capacity = 0;
    };
    /// At least `size` bytes.
    buffer lend(std::size_t size);
    void give_back(buffer used);
    /// About once a second: drops what was not lent since the last call.
    void sweep();

private:
    static constexpr std::size_t most_ = 4;
    static constexpr std::size_t largest_kept_ = 8 * 1024 * 1024;
    std::vector<buffer> kept_;
    std::size_t least_ = 0;  ///< kept all the time since the last sweep
};

class body_bytes {
public:
    explicit body_bytes(large_buffers& from) noexcept : from_(from) {}
    ~body_bytes();
    /// Nobody needs it any more.
    void let_go()
    {
        from_.give_back(std::exchange(buffer_, {}));
        size_ = 0;
    }
    body_bytes(const body_bytes&) = delete;
    body_bytes& operator=(const body_bytes&) = delete;

    std::string_view view() const noexcept { return {buffer_.bytes.get(), size_}; }
    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    void append(std::string_view more);
    /// Room behind what is there, for at least one byte and towards a body of `whole` bytes. What an agent
    /// announces costs memory only as it arrives.
    std::span<char> room(std::size_t whole);
    /// So many bytes of that room were filled.
    void grew(std::size_t n) noexcept { size_ += n; }

private:
    void hold(std::size_t capacity);

    large_buffers& from_;
    large_buffers::buffer buffer_;
    std::size_t size_ = 0;
};

}  // namespace keyhole::proxy
