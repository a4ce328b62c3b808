#include "metering/storable.hpp"

namespace keyhole::metering {

namespace {

/// Length of the UTF-8 sequence that starts at text[at]; 0: not one (overlong, surrogate, cut, beyond
/// U+10FFFF).
std::size_t sequence_length(std::string_view text, std::size_t at) noexcept
{
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
    const unsigned lead = byte(0);
    if (lead < 0x80) return 1;
    const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || text.size() - at < length) return 0;
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xC0U) != 0x80) return 0;
    }
    const unsigned second = byte(1);
    const bool overlong = (lead == 0xE0 && second < 0xA0) || (lead == 0xF0 && second < 0x90);
    const bool surrogate = lead == 0xED && second > 0x9F;
    const bool beyond = lead == 0xF4 && second > 0x8F;
    return overlong || surrogate || beyond ? 0 : length;
}

/// Whether the text ends inside a sequence that began well: what cutting a long text leaves.
bool is_cut_sequence(std::string_view rest) noexcept
{
    const auto lead = static_cast<unsigned char>(rest.front());
    const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || rest.size() >= length) return false;
    for (std::size_t i = 1; i < rest.size(); ++i) {
        if ((static_cast<unsigned char>(rest[i]) & 0xC0U) != 0x80) return false;
    }
    return true;
}

template <std::size_t N>
bool clean(fixed_text<N>& text) noexcept
{
    bool good = text.length <= N;
    std::size_t size = std::min<std::size_t>(text.length, N);
    // Nearly every text is plain ASCII.
    if (good && std::all_of(text.bytes.begin(), text.bytes.begin() + static_cast<std::ptrdiff_t>(size),
                            [](char c) { return c >= 0x20 && c < 0x7F; }))
        return true;
    for (std::size_t at = 0; at < size;) {
        const std::string_view all{text.bytes.data(), size};
        const std::size_t length = sequence_length(all, at);
        if (length == 0 && is_cut_sequence(all.substr(at))) {
            size = at;
            break;
        }
        const auto c = static_cast<unsigned char>(text.bytes[at]);
        if (length == 0 || c < 0x20 || c == 0x7F) {
            text.bytes[at] = '?';
            good = false;
        }
        at += std::max<std::size_t>(length, 1);
    }
    text.length = static_cast<std::uint16_t>(size);
    return good;
}

bool bound(std::int64_t& value, std::int64_t most) noexcept
{
    const std::int64_t bounded = std::clamp<std::int64_t>(value, 0, most);
    const bool good = bounded == value;
    value = bounded;
    return good;
}

/// The year 2200 in microseconds; later times are damage.
constexpr std::int64_t latest_us = 7'258'118'400'000'000;

}  // namespace

bool bound_numbers(record& r) noexcept
{
    bool good = true;
    const auto bounds = [&](std::int64_t most, auto&... value) {
        ((good = bound(value, most) && good), ...);
    };
    for (token_counts* c : {&r.counts, &r.beyond})
        bounds(most_tokens, c->input, c->cache_read, c->cache_write_5m, c->cache_write_1h, c->output,
               c->output_reasoning, c->input_audio, c->output_audio, c->input_image, c->output_image,
               c->web_searches);
    bounds(most_nano_usd, r.cost_nano_usd, r.provider_cost_nano_usd, r.reserved_nano_usd);
    bounds(latest_us, r.received_us, r.forwarded_us, r.first_byte_us, r.first_token_us, r.ended_us);
    bounds(INT64_MAX, r.bytes_in, r.bytes_out);
    return good;
}

bool make_storable(record& r) noexcept
{
    bool good = bound_numbers(r);
    const auto texts = [&](auto&... text) { ((good = clean(text) && good), ...); };
    texts(r.session, r.account, r.sandbox, r.run, r.attempt, r.provider, r.route, r.model, r.answered_model,
          r.provider_request_id, r.answer_id, r.service_tier, r.error, r.price_version, r.beyond_model);

    if (r.format > last_wire) {
        r.format = wire::none;
        good = false;
    }
    if (r.source > usage_source::provider) {
        r.source = usage_source::none;
        good = false;
    }
    if (r.end > outcome::internal_error) {
        r.end = outcome::internal_error;
        good = false;
    }
    return good;
}

record storable_from(std::span<const std::byte, sizeof(record)> bytes) noexcept
{
    // A bool that is neither 0 nor 1 may not even be read, so those bytes are put right before they become
    // one.
    std::array<std::byte, sizeof(record)> raw;
    std::ranges::copy(bytes, raw.begin());
    for (const std::size_t at :
         {offsetof(record, stream), offsetof(record, agent_gone), offsetof(record, priced),
          offsetof(record, total_mismatch), offsetof(record, settles_estimate)})
    {
        raw[at] &= std::byte{1};
    }
    record r;
    std::memcpy(&r, raw.data(), sizeof r);
    make_storable(r);
    return r;
}

}  // namespace keyhole::metering
