#include "proxy/body_bytes.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace keyhole::proxy {
namespace {

/// Announced sizes are taken at their word up to here: untouched memory costs nothing, but not without end.
constexpr std::size_t first_room = 1024 * 1024;

}  // namespace

large_buffers::buffer large_buffers::lend(std::size_t size)
{
    const auto fits = [&](const buffer& b) { return b.capacity >= size; };
    const auto found = size >= smallest ? std::find_if(kept_.rbegin(), kept_.rend(), fits) : kept_.rend();
    if (found == kept_.rend()) return {std::make_unique_for_overwrite<char[]>(size), size};
    buffer out = std::move(*found);
    kept_.erase(std::next(found).base());
    least_ = std::min(least_, kept_.size());
    return out;
}

void large_buffers::give_back(buffer used)
{
    if (used.capacity < smallest || used.capacity > largest_kept_ || kept_.size() == most_) return;
    kept_.push_back(std::move(used));
}

void large_buffers::sweep()
{
    // The ones at the front have rested longest.
    kept_.erase(kept_.begin(), kept_.begin() + static_cast<std::ptrdiff_t>(least_));
    least_ = kept_.size();
}

body_bytes::~body_bytes()
{
    from_.give_back(std::move(buffer_));
}

void body_bytes::hold(std::size_t capacity)
{
    auto larger = from_.lend(capacity);
    if (size_ != 0) std::memcpy(larger.bytes.get(), buffer_.bytes.get(), size_);
    from_.give_back(std::exchange(buffer_, std::move(larger)));
}

void body_bytes::append(std::string_view more)
{
    if (more.empty()) return;
    if (buffer_.capacity - size_ < more.size()) hold(std::max(size_ + more.size(), size_ * 2));
    std::memcpy(buffer_.bytes.get() + size_, more.data(), more.size());
    size_ += more.size();
}

std::span<char> body_bytes::room(std::size_t whole)
{
    if (size_ == buffer_.capacity || buffer_.capacity == 0)
        hold(std::max(size_ + 1, std::min(whole, std::max(first_room, size_ * 2))));
    return {buffer_.bytes.get() + size_, std::min(buffer_.capacity, std::max(whole, size_ + 1)) - size_};
}

}  // namespace keyhole::proxy
