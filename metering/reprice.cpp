#include "metering/reprice.hpp"

#include "metering/ledger_schema.hpp"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <utility>

namespace keyhole::metering {

namespace {

void add_up(std::int64_t& sum, std::int64_t more) noexcept
{
    if (__builtin_add_overflow(sum, more, &sum)) sum = INT64_MAX;
}

/// Both are sums of costs, never negative: their difference fits.
std::int64_t change(const repriced& r) noexcept
{
    return std::abs(r.nano_usd - r.booked_nano_usd);
}

}  // namespace

cost price_of(const record& r, const price_table& prices)
{
    if (r.source == usage_source::none) return {};
    const bool answered = prices.find(r.provider.view(), r.answered_model.view()) != nullptr;
    return prices.price(r.provider.view(), answered ? r.answered_model.view() : r.model.view(),
                        r.service_tier.view(), r.counts);
}

std::vector<repriced> reprice(const ledger& books, const usage_query& q, const price_table& prices)
{
    std::map<std::pair<std::string, std::string>, repriced> groups;
    books.each_row(q, [&](const record& r) {
        repriced& g = groups[{std::string(r.provider.view()), std::string(schema::counted_model(r))}];
        const cost now = price_of(r, prices);
        ++g.requests;
        add_up(g.booked_nano_usd, r.cost_nano_usd);
        add_up(g.nano_usd, now.nano_usd);
        g.booked_unpriced += schema::is_unpriced(r) ? 1 : 0;
        record other = r;
        other.priced = now.priced;
        g.unpriced += schema::is_unpriced(other) ? 1 : 0;
        return true;
    });
    std::vector<repriced> out;
    for (auto& [name, group] : groups) {
        group.provider = name.first;
        group.model = name.second;
        out.push_back(std::move(group));
    }
    std::ranges::stable_sort(out, std::greater<>{}, change);
    return out;
}

}  // namespace keyhole::metering
