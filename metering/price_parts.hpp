// What the readers of price files share: how mistakes are told, and how tiers of a model are found and
// completed. Thread rule: plain functions. They throw std::runtime_error("FILE:LINE: …").
#pragma once

#include "metering/json_tree.hpp"
#include "metering/prices.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace keyhole::metering::price_files {

using rate_field = std::int64_t rates::*;

/// A price by its name in a file.
struct named_rate {
    std::string_view name;
    rate_field field;
};

[[noreturn]] void fail(const std::string& file, std::size_t line, const std::string& what);

/// The rates above so many input tokens; begun empty where there are none yet.
rates& tier_above(model_price& m, std::int64_t above);
/// A tier that says nothing about input or output keeps the model's own; the rest falls back as rates says.
void complete_tiers(model_price& m);
/// 0: it is none.
std::int64_t whole_number(const json_tree* value);

}  // namespace keyhole::metering::price_files
