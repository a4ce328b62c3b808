#include "proxy/body_bytes.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <sys/mman.h>
#include <utility>

namespace keyhole::proxy {
namespace {

/// Announced sizes are taken at their word up to here: untouched memory costs nothing, but not without end.
constexpr std::size_t first_room = 1024 * 1024;

constexpr std::size_t step = 256 * 1024;  // of a mapping, a whole number of any machine's pages

constexpr std::size_t in_steps(std::size_t n) noexcept
{
    return (n + step - 1) / step * step;
}

}  // namespace

large_buffer large_buffer::on_heap(std::size_t size)
{
    large_buffer out;
    out.at_ = new char[size];
    out.capacity_ = out.most_ = size;
    return out;
}

large_buffer large_buffer::in(brief_memory& from, std::size_t size)
{
    large_buffer out;
    out.at_ = from.take(size);
    out.capacity_ = out.most_ = size;
    out.brief_ = &from;
    return out;
}

large_buffer large_buffer::mapped(std::size_t most)
{
    large_buffer out;
    out.most_ = in_steps(most);
    // No access yet: addresses only, which no limit on memory counts.
    void* at = ::mmap(nullptr, out.most_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) throw std::bad_alloc();
    out.at_ = static_cast<char*>(at);
    out.mapped_ = true;
    return out;
}

large_buffer::~large_buffer()
{
    if (mapped_)
        ::munmap(at_, most_);
    else if (brief_ != nullptr)
        brief_->give_back(at_);
    else
        delete[] at_;
}

large_buffer::large_buffer(large_buffer&& other) noexcept
    : at_(std::exchange(other.at_, nullptr))
    , capacity_(std::exchange(other.capacity_, 0))
    , most_(std::exchange(other.most_, 0))
    , mapped_(std::exchange(other.mapped_, false))
    , brief_(std::exchange(other.brief_, nullptr))
{
}

large_buffer& large_buffer::operator=(large_buffer&& other) noexcept
{
    std::swap(at_, other.at_);
    std::swap(capacity_, other.capacity_);
    std::swap(most_, other.most_);
    std::swap(mapped_, other.mapped_);
    std::swap(brief_, other.brief_);
    return *this;
}

void large_buffer::grow(std::size_t capacity)
{
    if (!mapped_ || capacity <= capacity_) return;
    const auto to = std::min(in_steps(capacity), most_);
    if (::mprotect(at_ + capacity_, to - capacity_, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
    capacity_ = to;
}

bool large_buffer::shrink(std::size_t bytes) noexcept
{
    if (!mapped_) return false;
    const auto keep = capacity_ > bytes ? in_steps(capacity_ - bytes) : 0;
    ::munmap(at_ + keep, most_ - keep);
    capacity_ = most_ = keep;
    if (keep != 0) return true;
    at_ = nullptr;
    mapped_ = false;
    return false;
}

large_buffer large_buffers::lend(std::size_t size)
{
    if (size <= brief_memory::largest) return large_buffer::in(brief_, size);
    const auto fits = [&](const large_buffer& b) { return b.most() >= size; };
    const auto found = size >= smallest ? std::find_if(kept_.rbegin(), kept_.rend(), fits) : kept_.rend();
    if (found == kept_.rend())
        return size > largest_on_heap ? large_buffer::mapped(size) : large_buffer::on_heap(size);
    large_buffer out = std::move(*found);
    kept_.erase(std::next(found).base());
    least_ = std::min(least_, kept_.size());
    return out;
}

void large_buffers::give_back(large_buffer used)
{
    const bool fit = used.capacity() >= smallest && used.capacity() <= largest_kept_;
    if (fit && kept_.size() != most_)
        kept_.push_back(std::move(used));
    else if (used.is_mapped() && dismantle_)
        dismantle_(std::move(used));
}

void large_buffers::sweep()
{
    brief_.sweep();
    // The ones at the front have rested longest.
    const auto rested = kept_.begin() + static_cast<std::ptrdiff_t>(least_);
    if (dismantle_)
        for (auto b = kept_.begin(); b != rested; ++b)
            if (b->is_mapped()) dismantle_(std::move(*b));
    kept_.erase(kept_.begin(), rested);
    least_ = kept_.size();
}

body_bytes::~body_bytes()
{
    from_.give_back(std::move(buffer_));
}

void body_bytes::hold(std::size_t capacity, std::size_t most)
{
    if (capacity <= buffer_.most()) {
        buffer_.grow(capacity);
        return;
    }
    auto larger = from_.lend(capacity > large_buffers::largest_on_heap ? most : capacity);
    larger.grow(capacity);
    if (size_ != 0) std::memcpy(larger.data(), buffer_.data(), size_);
    from_.give_back(std::exchange(buffer_, std::move(larger)));
}

void body_bytes::append(std::string_view more, std::size_t most)
{
    if (more.empty()) return;
    const auto needed = size_ + more.size();
    if (buffer_.capacity() < needed)
        hold(std::max(needed, std::min(size_ * 2, most)), std::max(needed, most));
    std::memcpy(buffer_.data() + size_, more.data(), more.size());
    size_ = needed;
}

std::span<char> body_bytes::room(std::size_t whole)
{
    const auto most = std::max(whole, size_ + 1);
    if (size_ == buffer_.capacity()) {
        if (buffer_.most() == 0 && most > large_buffers::largest_on_heap) buffer_ = from_.lend(most);
        hold(std::max(size_ + 1, std::min(whole, std::max(first_room, size_ * 2))), most);
    }
    return {buffer_.data() + size_, std::min(buffer_.capacity(), most) - size_};
}

}  // namespace keyhole::proxy
