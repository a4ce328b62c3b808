// What a token costs. Integer nano-USD per million tokens in the table, integer nano-USD in the result; no
// floating point in money. Models are matched by exact name or by an explicit alias, never by a guessed
// prefix (a prefix bills the wrong model). Thread rule: immutable after loading; replaced as a whole
// (shared_ptr) on reload.
#pragma once

#include "metering/usage.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace keyhole::metering {

/// Prices in nano-USD per million tokens; -1: not given (then the fallback named there applies).
struct rates {
    std::int64_t input = -1;
    std::int64_t output = -1;
    std::int64_t cache_read = -1;        ///< falls back to input
    std::int64_t cache_write_5m = -1;    ///< falls back to input
    std::int64_t cache_write_1h = -1;    ///< falls back to cache_write_5m
    std::int64_t output_reasoning = -1;  ///< falls back to output
    std::int64_t input_audio = -1;       ///< falls back to input
    std::int64_t output_audio = -1;      ///< falls back to output
    std::int64_t input_image = -1;       ///< falls back to input
    std::int64_t output_image = -1;      ///< falls back to output
    std::int64_t web_search = -1;        ///< nano-USD a call (not per million); not given: calls are unpriced
};

/// Above this many input tokens (cached ones included) the whole request is billed at these rates.
struct context_tier {
    std::int64_t above_input_tokens = 0;
    rates at;
    std::vector<std::pair<std::string, rates>>
        service_tiers;  ///< of requests this long, as model_price::service_tiers
};

struct model_price {
    std::string provider;
    std::string model;
    std::vector<std::string> aliases;
    rates standard;
    std::vector<context_tier> tiers;  ///< ascending
    std::vector<std::pair<std::string, rates>>
        service_tiers;                   ///< by the tier the *answer* names: "batch", "flex", "priority"
    std::int64_t max_output_tokens = 0;  ///< 0: not known
    std::string source;                  ///< where the price was read
    std::string date;                    ///< when (YYYY-MM-DD)
};

struct cost {
    std::int64_t nano_usd = 0;
    /// false: no entry for the model, or none for the service tier that answered. Counted and visible, never
    /// silently free: where only the tier is unknown, nano_usd is what the standard tier would cost (budgets
    /// need a number), still marked unpriced.
    bool priced = false;
};

enum class bill : std::uint8_t { one_request, many_requests };

class price_table {
public:
    /// The table that ships with Keyhole (current models of OpenAI and Anthropic).
    static price_table builtin();
    /// Lays a file over this table. Throws std::runtime_error("FILE:LINE: …") on anything it does not
    /// understand.
    void load_keyhole(const std::string& path);
    /// The same from text; `name` stands in errors for the file's.
    void load_keyhole_text(std::string_view text, const std::string& name);
    void load_litellm(const std::string& path);
    void load_models_dev(const std::string& path);

    /// nullptr: unpriced.
    const model_price* find(std::string_view provider, std::string_view model) const;
    /// The answered model's price, else the requested one's. Rounds half up once, at the end. A sum of many
    /// requests says nothing of how long each was: it has no context tier.
    cost price(std::string_view provider, std::string_view model, std::string_view service_tier,
               const token_counts& counts, bill of = bill::one_request) const;
    /// What a request may cost at most: at the dearest of the rates that its answer may be billed at (the
    /// standard and the asked service tiers, each context tier that its input may reach, the dearest buckets
    /// its tokens may fall into). A tier that is asked for in a word that the model has no tier of may be any
    /// of them.
    struct worst_case {
        std::span<const std::string> tiers = {};  ///< as asked
        std::int64_t input = 0;
        std::int64_t output = 0;
        std::int64_t searches = 0;
        bool cache_write = false;
        bool long_cache_write = false;
        bool audio = false;  ///< the output may be
        bool image = false;
    };
    /// 0: unpriced.
    std::int64_t most(std::string_view provider, std::string_view model, const worst_case& of) const;
    /// Names the table's content (a hash), stored in each row.
    std::string_view version() const noexcept;
    std::size_t size() const noexcept;

private:
    struct impl;
    std::shared_ptr<impl> impl_;
    void seal();
};

using price_table_ptr = std::shared_ptr<const price_table>;

}  // namespace keyhole::metering
