// Memory for small things that go soon, while much that was made beside them stays: the prompt of a stream
// that then runs for minutes. On the heap each would leave a hole between two frames, too small for the
// system to take back. Here they lie among their own kind, and what all of them left is a few whole pages.
// Thread rule: one owner.
#pragma once

#include <cstddef>
#include <vector>

namespace keyhole::proxy {

class brief_memory {
public:
    static constexpr std::size_t largest = 4096;  ///< that may be asked for

    brief_memory() = default;
    ~brief_memory();
    brief_memory(const brief_memory&) = delete;
    brief_memory& operator=(const brief_memory&) = delete;

    /// Aligned as operator new's. Throws std::bad_alloc.
    char* take(std::size_t size);
    void give_back(char* taken) noexcept;
    /// About once a second: what nobody used since the last call goes back to the system.
    void sweep() noexcept;

private:
    struct slab;
    slab* next_slab();

    slab* current_ = nullptr;   ///< the one that is taken from
    std::vector<slab*> empty_;  ///< kept for the next
    std::size_t least_ = 0;     ///< kept all the time since the last sweep
};

}  // namespace keyhole::proxy
