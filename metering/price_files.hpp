// Readers of price files: Keyhole's own TOML, LiteLLM's JSON, models.dev's JSON or TOML. Each yields plain
// entries; how they lie over the table is prices.cpp's business. Numbers are taken as decimal text, never
// through a double. Thread rule: plain functions. They throw std::runtime_error("FILE:LINE: …").
#pragma once

#include "metering/prices.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace keyhole::metering::price_files {

std::vector<model_price> read_keyhole(const std::string& path);
std::vector<model_price> parse_keyhole(std::string_view text, const std::string& name);
std::vector<model_price> read_litellm(const std::string& path);
/// A file (api.json) or a directory with PROVIDER/models/*.toml, at its top or under "providers".
std::vector<model_price> read_models_dev(const std::string& path);

/// The whole file; throws with the cause.
std::string read_text(const std::string& path);

}  // namespace keyhole::metering::price_files
