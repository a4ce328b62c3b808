// A request's body as it is held: bytes that grow with what arrives, never filled with zeros first and, where
// there are many, never copied to grow. Large ones come from the worker's kept buffers, since fresh memory
// costs a page fault every 4 KiB; small ones from its brief memory. Thread rule: its worker.
#pragma once

#include "proxy/brief_memory.hpp"

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace keyhole::proxy {

/// Memory that stays where it is. A mapped one takes addresses for all it may come to hold, and memory for
/// what it was asked to hold.
class large_buffer {
public:
    large_buffer() noexcept = default;
    static large_buffer on_heap(std::size_t size);
    /// At most brief_memory::largest; `from` outlives it.
    static large_buffer in(brief_memory& from, std::size_t size);
    /// Nothing of it may be used before grow().
    static large_buffer mapped(std::size_t most);
    ~large_buffer();
    large_buffer(large_buffer&& other) noexcept;
    large_buffer& operator=(large_buffer&& other) noexcept;

    char* data() const noexcept { return at_; }
    std::size_t capacity() const noexcept { return capacity_; }  ///< may be used now
    std::size_t most() const noexcept { return most_; }          ///< may be asked for
    bool is_mapped() const noexcept { return mapped_; }
    /// To at least `capacity`, at most most().
    void grow(std::size_t capacity);
    /// Gives `bytes` of a mapped one's end back to the system, all of it at the last. False: nothing is left.
    bool shrink(std::size_t bytes) noexcept;

private:
    char* at_ = nullptr;
    std::size_t capacity_ = 0;
    std::size_t most_ = 0;
    bool mapped_ = false;
    brief_memory* brief_ = nullptr;  ///< where it came from
};

/// A few large buffers of a worker, between requests. Those that nobody used for a while are given back.
class large_buffers {
public:
    static constexpr std::size_t smallest = 64 * 1024;
    /// Above this they are mapped.
    static constexpr std::size_t largest_on_heap = 1024 * 1024;

    /// One that can come to hold `size` bytes; on the heap it holds them now.
    large_buffer lend(std::size_t size);
    void give_back(large_buffer used);
    /// About once a second: drops what was not lent since the last call.
    void sweep();
    /// Who takes apart what is too large to be kept: freeing a hundred megabytes at once takes milliseconds.
    void set_dismantle(std::function<void(large_buffer)> f) { dismantle_ = std::move(f); }

private:
    static constexpr std::size_t most_ = 4;
    static constexpr std::size_t largest_kept_ = 8 * 1024 * 1024 + smallest;
    brief_memory brief_;
    std::vector<large_buffer> kept_;
    std::size_t least_ = 0;  ///< kept all the time since the last sweep
    std::function<void(large_buffer)> dismantle_;
};

class body_bytes {
public:
    explicit body_bytes(large_buffers& from) noexcept : from_(from) {}
    ~body_bytes();
    body_bytes(const body_bytes&) = delete;
    body_bytes& operator=(const body_bytes&) = delete;
    /// Nobody needs it any more.
    void let_go()
    {
        from_.give_back(std::exchange(buffer_, {}));
        size_ = 0;
    }

    std::string_view view() const noexcept { return {buffer_.data(), size_}; }
    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    /// To a body that may come to hold `most` bytes.
    void append(std::string_view more, std::size_t most);
    /// Room behind what is there, for at least one byte and towards a body of `whole` bytes. What an agent
    /// announces costs memory only as it arrives.
    std::span<char> room(std::size_t whole);
    /// So many bytes of that room were filled.
    void grew(std::size_t n) noexcept { size_ += n; }

private:
    void hold(std::size_t capacity, std::size_t most);

    large_buffers& from_;
    large_buffer buffer_;
    std::size_t size_ = 0;
};

}  // namespace keyhole::proxy
