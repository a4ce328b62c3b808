#include "proxy/reserving.hpp"

#include <algorithm>
#include <array>

namespace keyhole::proxy {
namespace {

constexpr std::array tier_headers{
    // https://docs.aws.amazon.com/bedrock/latest/userguide/service-tiers-inference.html
    std::string_view("x-amzn-bedrock-service-tier"),
    // https://cloud.google.com/vertex-ai/generative-ai/docs/priority-paygo
    std::string_view("x-vertex-ai-llm-shared-request-type"),
    std::string_view("x-vertex-ai-llm-request-type"),
};

bool names_a_tier(std::string_view field)
{
    return std::ranges::any_of(tier_headers,
                               [&](auto header) { return http::iequals_as_variable(field, header); });
}

}  // namespace

void add_tiers(const exchange& x, metering::request_demand& asked)
{
    if (!x.facts.service_tier.empty()) asked.tiers.push_back(x.facts.service_tier);
    for (const auto& field : x.head.fields)
        if (names_a_tier(field.name)) asked.tiers.emplace_back(field.value);
    for (const auto& [name, value] : x.to->provider.headers)
        if (names_a_tier(name)) asked.tiers.push_back(value);
}

}  // namespace keyhole::proxy
