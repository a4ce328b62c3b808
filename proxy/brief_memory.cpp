#include "proxy/brief_memory.hpp"

#include <algorithm>
#include <cstdint>
#include <new>
#include <sys/mman.h>

namespace keyhole::proxy {
namespace {

constexpr std::size_t slab_size =
    32 * 1024;  // and its alignment, so that each byte in it tells where it begins
constexpr std::size_t most_empty = 16;
constexpr std::size_t alignment = alignof(std::max_align_t);

constexpr std::size_t aligned(std::size_t n) noexcept
{
    return (n + alignment - 1) / alignment * alignment;
}

char* map_slab()
{
    void* at = ::mmap(nullptr, 2 * slab_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) throw std::bad_alloc();
    auto* const begin = static_cast<char*>(at);
    const std::size_t before = (slab_size - reinterpret_cast<std::uintptr_t>(begin) % slab_size) % slab_size;
    if (before != 0) ::munmap(begin, before);
    ::munmap(begin + before + slab_size, slab_size - before);
    return begin + before;
}

}  // namespace

/// The head of its own bytes.
struct brief_memory::slab {
    std::size_t used = 0;
    std::size_t alive = 0;

    static constexpr std::size_t first() noexcept { return aligned(sizeof(slab)); }
    static slab* of(char* taken) noexcept
    {
        return std::launder(
            reinterpret_cast<slab*>(taken - reinterpret_cast<std::uintptr_t>(taken) % slab_size));
    }
    char* begin() noexcept { return reinterpret_cast<char*>(this); }
};

brief_memory::~brief_memory()
{
    for (slab* s : empty_)
        ::munmap(s, slab_size);
    if (current_ != nullptr && current_->alive == 0) ::munmap(current_, slab_size);
}

brief_memory::slab* brief_memory::next_slab()
{
    if (empty_.empty()) {
        empty_.reserve(most_empty);  // give_back() may not throw
        return new (map_slab()) slab{slab::first(), 0};
    }
    slab* const out = empty_.back();
    empty_.pop_back();
    least_ = std::min(least_, empty_.size());
    return out;
}

char* brief_memory::take(std::size_t size)
{
    const std::size_t needed = aligned(size);
    if (current_ == nullptr || slab_size - current_->used < needed) current_ = next_slab();
    char* const at = current_->begin() + current_->used;
    current_->used += needed;
    ++current_->alive;
    return at;
}

void brief_memory::give_back(char* taken) noexcept
{
    slab* const s = slab::of(taken);
    if (--s->alive != 0) return;
    s->used = slab::first();
    if (s == current_) return;
    if (empty_.size() < most_empty)
        empty_.push_back(s);
    else
        ::munmap(s, slab_size);
}

void brief_memory::sweep() noexcept
{
    // The ones at the front have rested longest.
    const auto rested = empty_.begin() + static_cast<std::ptrdiff_t>(std::min(least_, empty_.size()));
    for (auto s = empty_.begin(); s != rested; ++s)
        ::munmap(*s, slab_size);
    empty_.erase(empty_.begin(), rested);
    least_ = empty_.size();
}

}  // namespace keyhole::proxy
