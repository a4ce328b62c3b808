#include "metering/price_parts.hpp"

#include "metering/decimal.hpp"

#include <algorithm>
#include <stdexcept>

namespace keyhole::metering::price_files {

namespace {

void complete(rates& tier, const rates& standard)
{
    if (tier.input < 0) tier.input = standard.input;
    if (tier.output < 0) tier.output = standard.output;
    if (tier.web_search < 0) tier.web_search = standard.web_search;
}

}  // namespace

void fail(const std::string& file, std::size_t line, const std::string& what)
{
    throw std::runtime_error(file + ":" + std::to_string(line) + ": " + what);
}

rates& tier_above(model_price& m, std::int64_t above)
{
    const auto found = std::ranges::find(m.tiers, above, &context_tier::above_input_tokens);
    if (found != m.tiers.end()) return found->at;
    m.tiers.push_back({above, {}, {}});
    return m.tiers.back().at;
}

void complete_tiers(model_price& m)
{
    std::ranges::sort(m.tiers, {}, &context_tier::above_input_tokens);
    for (context_tier& t : m.tiers) {
        complete(t.at, m.standard);
    }
    for (auto& [name, at] : m.service_tiers) {
        complete(at, m.standard);
    }
}

std::int64_t whole_number(const json_tree* value)
{
    const bool number = value != nullptr && value->what == json_tree::kind::number;
    return number ? scaled_decimal(value->text, 0, true).value_or(0) : 0;
}

}  // namespace keyhole::metering::price_files
