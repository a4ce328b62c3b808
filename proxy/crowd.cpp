#include "proxy/crowd.hpp"

#include "proxy/connection.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace keyhole::proxy {
namespace {

constexpr std::size_t most_holders = 8;  ///< that are looked at for one newcomer
constexpr std::size_t most_busy = 32;    ///< connections of each

}  // namespace

void crowd::put(place& p, holder_key by)
{
    if (p.of_ != nullptr && p.of_->key == by) return refresh(p);
    take_out(p);
    holder& to = holders_.try_emplace(by, by).first->second;
    to.here.push_back(p);
    p.of_ = &to;
}

void crowd::refresh(place& p) noexcept
{
    if (p.of_ != nullptr) p.of_->here.splice(p.of_->here.end(), p.of_->here, p.of_->here.iterator_to(p));
}

void crowd::take_out(place& p) noexcept
{
    if (p.of_ == nullptr) return;
    holder& was = *std::exchange(p.of_, nullptr);
    was.here.erase(was.here.iterator_to(p));
    if (was.here.empty()) holders_.erase(was.key);
}

connection* crowd::displace(holder_key who)
{
    using sort = holder_key::sort;
    const auto mine = holders_.find(who);
    const std::size_t own = mine == holders_.end() ? 0 : mine->second.here.size();
    std::array<const holder*, most_holders> tried{};
    for (std::size_t n = 0; n < most_holders; ++n) {
        holder* most = nullptr;
        for (auto& [key, each] : holders_) {
            const bool may = each.here.size() > own || key == who;
            const auto* const end = tried.cbegin() + n;
            if (!may || std::find(tried.cbegin(), end, &each) != end) continue;
            // All bridges' channels together are more than any agent has: they are no measure for it.
            if (key.by == sort::channels && who.by != sort::user && who.by != sort::tcp) continue;
            // A bridge's channel is worth all that came over it, so channels go when there is nothing else.
            const bool better = most == nullptr || most->key.by == sort::channels ||
                                (key.by != sort::channels && each.here.size() > most->here.size());
            if (better) most = &each;
        }
        if (most == nullptr) return nullptr;
        tried[n] = most;
        const std::size_t steps = std::min(most->here.size(), most_busy);
        for (std::size_t i = 0; i < steps; ++i) {
            place& first = most->here.front();
            if (first.whose_->may_be_crowded_out()) {
                take_out(first);
                return first.whose_;
            }
            refresh(first);
        }
    }
    return nullptr;
}

}  // namespace keyhole::proxy
