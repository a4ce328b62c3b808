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

bool is_batch(wire w) noexcept
{
    return w == wire::anthropic_batch_results || w == wire::openai_batch || w == wire::openai_batch_results;
}

cost price_of(const record& r, const price_table& prices)
{
    if (!has_cost(r)) return {};
    const bool answered = prices.find(r.provider.view(), r.answered_model.view()) != nullptr;
    const std::string_view model = answered ? r.answered_model.view() : r.model.view();
    const bool estimated_batch = r.format == wire::none && r.service_tier.view() == "batch";
    const bill of = is_batch(r.format) || estimated_batch ? bill::many_requests : bill::one_request;
    cost sum = prices.price(r.provider.view(), model, r.service_tier.view(), r.counts, of);
    if (r.beyond.total() == 0) {
        if (r.beyond_model.empty() || !is_batch(r.format)) return sum;
        // A batch of several models tells one sum: at the dearer of two rates, and marked.
        const cost other =
            prices.price(r.provider.view(), r.beyond_model.view(), r.service_tier.view(), r.counts, of);
        return {std::max(sum.nano_usd, other.nano_usd), false};
    }
    // A request of its own for the provider's bill: its context tier is its own input's.
    const cost more = prices.price(r.provider.view(), r.beyond_model.empty() ? model : r.beyond_model.view(),
                                   r.service_tier.view(), r.beyond);
    add_up(sum.nano_usd, more.nano_usd);
    sum.priced = sum.priced && more.priced;
    return sum;
}

void book_at(record& r, const price_table& prices)
{
    if (!has_cost(r)) return;
    const cost now = price_of(r, prices);
    r.cost_nano_usd = now.nano_usd;
    r.priced = now.priced;
    if (now.priced)
        r.price_version = prices.version();
    else
        r.price_version.length = 0;
}

void repriced_groups::add(const record& was, const record& is)
{
    repriced& g = groups_[{std::string(was.provider.view()), std::string(schema::counted_model(was))}];
    ++g.requests;
    add_up(g.booked_nano_usd, was.cost_nano_usd);
    add_up(g.nano_usd, is.cost_nano_usd);
    g.booked_unpriced += schema::is_unpriced(was) ? 1 : 0;
    g.unpriced += schema::is_unpriced(is) ? 1 : 0;
}

std::vector<repriced> repriced_groups::sorted() const
{
    std::vector<repriced> out;
    for (const auto& [name, group] : groups_) {
        out.push_back(group);
        out.back().provider = name.first;
        out.back().model = name.second;
    }
    std::ranges::stable_sort(out, std::greater<>{}, change);
    return out;
}

std::vector<repriced> reprice(const ledger& books, const usage_query& q, const price_table& prices)
{
    repriced_groups groups;
    books.each_row(q, [&](const record& r) {
        record now = r;
        book_at(now, prices);
        groups.add(r, now);
        return true;
    });
    return groups.sorted();
}

}  // namespace keyhole::metering
