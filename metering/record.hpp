// One forwarded request, from the moment it is admitted to its row in the ledger. The same plain bytes are
// the in-flight journal's slot (a memory-mapped file that survives kill -9), the ledger's row, the log line
// and the metrics' event, so the four cannot disagree. Trivially copyable, fixed size, no pointers.
#pragma once

#include "metering/usage.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>

namespace keyhole::metering {

/// A short text inside a record. Longer values are cut. The length is written last, so a torn write shows an
/// old or empty text.
template <std::size_t N>
struct fixed_text {
    std::uint16_t length = 0;
    std::array<char, N> bytes{};

    std::string_view view() const noexcept { return {bytes.data(), std::min<std::size_t>(length, N)}; }
    bool empty() const noexcept { return length == 0; }
    void assign(std::string_view text) noexcept
    {
        const std::size_t n = std::min(text.size(), N);
        length = 0;
        text.copy(bytes.data(), n);
        length = static_cast<std::uint16_t>(n);
    }
    fixed_text& operator=(std::string_view text) noexcept
    {
        assign(text);
        return *this;
    }
};

/// How the request ended, as the ledger and the metrics name it.
enum class outcome : std::uint8_t {
    in_flight,       ///< only in the journal
    ok,              ///< the provider's answer was relayed to its end
    provider_error,  ///< the provider answered with status >= 400
    provider_cut,    ///< the provider's connection broke or fell silent mid-answer
    provider_down,   ///< no connection, or no answer at all
    agent_gone,      ///< the agent hung up before the answer's end
    revoked,         ///< the session was revoked and its streams cut
    shutdown,        ///< cut at the end of the grace period
    interrupted,     ///< the proxy died (kill -9, power): written at the next start
    stream_error,    ///< a 200 that turned into the API's own error event
    internal_error,
};

struct record {
    std::array<std::uint8_t, 16> request_id{};  ///< UUIDv7, minted here; the ledger's primary key
    fixed_text<40> session;                     ///< session id (ses_…), never a token
    fixed_text<40> account;                     ///< parent account; empty: none
    fixed_text<64> sandbox;
    fixed_text<64> run;      ///< label "run" of the session or header x-keyhole-run
    fixed_text<32> attempt;  ///< label "attempt" or header x-keyhole-attempt
    fixed_text<32> provider;
    fixed_text<48> route;                ///< the matched template, e.g. "POST /v1/chat/completions"
    fixed_text<96> model;                ///< as requested
    fixed_text<96> answered_model;       ///< as answered
    fixed_text<96> provider_request_id;  ///< the answer's request-id / x-request-id header
    fixed_text<96> answer_id;            ///< msg_…, chatcmpl-…, resp_…: bills a retrieved response once
    fixed_text<32> service_tier;
    fixed_text<64> error;          ///< error class, e.g. rate_limit_error, connect_timeout; empty: none
    fixed_text<24> price_version;  ///< of the table that priced this row; empty: unpriced or not metered
    wire format = wire::none;
    usage_source source = usage_source::none;
    outcome end = outcome::in_flight;
    bool stream = false;
    bool agent_gone = false;      ///< the agent left before the end (also when drained)
    bool priced = false;          ///< cost is known (false and tokens > 0: unpriced)
    bool total_mismatch = false;  ///< the provider's own total differs from the buckets
    /// Its usage is the final one of a stored object: the row that estimated it gives its estimate up. Only
    /// on the way to the ledger, not in the row. (In what was padding: the journal's layout stays.)
    bool settles_estimate = false;
    std::int16_t status = 0;  ///< the provider's HTTP status; 0: none came
    token_counts counts;
    std::int64_t cost_nano_usd = 0;
    std::int64_t provider_cost_nano_usd = 0;  ///< as the provider itself says (OpenRouter); 0: not given
    std::int64_t reserved_nano_usd = 0;       ///< what the budget held for it
    // Microseconds since 1970 (UTC); 0: did not happen.
    std::int64_t received_us = 0;     ///< the request's head was complete
    std::int64_t forwarded_us = 0;    ///< its first byte left for the provider
    std::int64_t first_byte_us = 0;   ///< the answer's first byte came
    std::int64_t first_token_us = 0;  ///< the first body byte of a 200 that says something came
    std::int64_t ended_us = 0;
    std::int64_t bytes_in = 0;   ///< request body, from the agent
    std::int64_t bytes_out = 0;  ///< answer body, from the provider
    /// Billed beside `counts` and disjoint from them: work that Anthropic lists in usage.iterations and
    /// leaves out of the usage itself (compaction, an advisor, a model that was fallen back from). Its output
    /// is not broken down.
    token_counts beyond;
    fixed_text<96> beyond_model;  ///< whose work that was, where it was another model's
};
static_assert(std::is_trivially_copyable_v<record>);

/// Something is known that can have a price: tokens, or pieces (pages) alone.
inline bool has_cost(const record& r) noexcept
{
    return r.source != usage_source::none || r.counts.web_searches > 0;
}

std::string_view to_string(outcome o) noexcept;

/// A new UUIDv7 (RFC 9562 section 5.7): time-ordered, monotonic within a thread.
std::array<std::uint8_t, 16> new_request_id() noexcept;
/// 8-4-4-4-12 lower-case hexadecimal.
std::array<char, 36> format_request_id(const std::array<std::uint8_t, 16>& id) noexcept;

/// Microseconds since 1970, UTC.
std::int64_t now_us() noexcept;

}  // namespace keyhole::metering
