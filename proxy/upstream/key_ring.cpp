#include "proxy/upstream/key_ring.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string>

namespace keyhole::proxy::upstream {
namespace {

using std::chrono::seconds;

constexpr seconds unnamed_rest{10};  // a 429 that does not say how long
constexpr seconds longest_rest{600};
constexpr seconds refused_rest{300};  // a 401: until somebody may have mended it

std::optional<std::int64_t> whole(std::string_view text) noexcept
{
    std::int64_t value = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
    // "0.5" counts as the second that it begins.
    const bool fraction = end != text.data() + text.size() && *end == '.';
    if (ec != std::errc{} || value < 0 || (end != text.data() + text.size() && !fraction))
        return std::nullopt;
    return fraction ? value + 1 : value;
}

std::optional<std::int64_t> until_date(std::string_view text, std::time_t now) noexcept
{
    char copy[40];
    if (text.size() >= sizeof copy) return std::nullopt;
    *std::copy(text.begin(), text.end(), copy) = '\0';
    std::tm at{};
    const char* end = ::strptime(copy, "%a, %d %b %Y %H:%M:%S GMT", &at);
    if (end == nullptr || *end != '\0') return std::nullopt;
    return std::max<std::int64_t>(::timegm(&at) - now, 0);
}

}  // namespace

key_ring::key_ring(std::size_t keys)
    : size_(keys), rests_until_(std::make_unique<std::atomic<clock::rep>[]>(keys))
{
    for (std::size_t i = 0; i < size_; ++i)
        rests_until_[i].store(clock::time_point::min().time_since_epoch().count(), std::memory_order_relaxed);
}

std::size_t key_ring::choose(std::size_t affinity, clock::time_point now) const noexcept
{
    const auto moment = now.time_since_epoch().count();
    std::size_t best = affinity % size_;
    auto best_until = rests_until_[best].load(std::memory_order_relaxed);
    for (std::size_t i = 1; i < size_ && best_until > moment; ++i) {
        const auto at = (affinity + i) % size_;
        const auto until = rests_until_[at].load(std::memory_order_relaxed);
        if (until < best_until) {
            best = at;
            best_until = until;
        }
    }
    return best;
}

bool key_ring::rest(std::size_t key, std::chrono::seconds time, clock::time_point now) noexcept
{
    const auto until = (now + time).time_since_epoch().count();
    auto before = rests_until_[key].load(std::memory_order_relaxed);
    while (before < until &&
           !rests_until_[key].compare_exchange_weak(before, until, std::memory_order_relaxed))
    {
    }
    return before <= now.time_since_epoch().count();
}

std::optional<seconds> rest_after(int status, std::string_view retry_after, std::string_view retry_after_ms,
                                  std::time_t now) noexcept
{
    if (status == 401) return refused_rest;
    if (status != 429) return std::nullopt;
    auto said = whole(retry_after);
    if (const auto ms = whole(retry_after_ms)) said = *ms / 1000 + (*ms % 1000 != 0 ? 1 : 0);
    if (!said) said = until_date(retry_after, now);
    if (!said) return unnamed_rest;
    return std::clamp(seconds(std::min<std::int64_t>(*said, longest_rest.count())), seconds(1), longest_rest);
}

}  // namespace keyhole::proxy::upstream
