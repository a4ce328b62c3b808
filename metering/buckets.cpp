#include "metering/wires.hpp"

#include <algorithm>

namespace keyhole::metering {

namespace {

/// Moves up to `wanted` out of `rest`.
std::int64_t take(std::int64_t& rest, std::int64_t wanted) noexcept
{
    const std::int64_t taken = std::clamp<std::int64_t>(wanted, 0, rest);
    rest -= taken;
    return taken;
}

}  // namespace

token_counts buckets_of(const usage_numbers& numbers, const containment& rule) noexcept
{
    const auto n = [&](quantity q) { return std::max<std::int64_t>(numbers[q], 0); };
    token_counts c;

    const std::int64_t read = n(quantity::cache_read);
    const std::int64_t split = n(quantity::cache_write_5m) + n(quantity::cache_write_1h);
    // The total counts; a split may be missing (web-search turns) or add up to something else.
    const std::int64_t written = numbers.has(quantity::cache_write) ? n(quantity::cache_write) : split;

    std::int64_t input = n(quantity::input);
    std::int64_t output = n(quantity::output);
    std::int64_t audio_in = std::max<std::int64_t>(n(quantity::input_audio) - n(quantity::cached_audio), 0);
    const std::int64_t image_in =
        std::max<std::int64_t>(n(quantity::input_image) - n(quantity::cached_image), 0);

    const bool named = numbers.has(quantity::input) || numbers.has(quantity::output);
    if (rule.lone_total_is_input && !named) {
        input = n(quantity::total);
    } else if (rule.total_decides && numbers.has(quantity::total)) {
        const std::int64_t total = n(quantity::total);
        const std::int64_t reasoning = n(quantity::reasoning);
        const std::int64_t audio = n(quantity::input_audio);
        if (reasoning > 0 && total == input + output + reasoning)
            output += reasoning;
        else if (audio > 0 && total == input + output + audio)
            input += audio;
        else if (read + written > 0 && total == input + output + read + written)
            input += read + written;
        else if (rule.total_holds_thinking && numbers.has(quantity::input) && total > input + output)
            output = total - input;
    }
    if (rule.cache_beside_input) input += read + written;
    if (rule.image_beside_input) input += image_in;
    if (rule.reasoning_beside_output) output += n(quantity::reasoning);
    input += n(quantity::input_more);

    c.cache_read = take(input, read);
    const std::int64_t write = take(input, written);
    c.cache_write_1h = std::min(n(quantity::cache_write_1h), write);
    c.cache_write_5m = write - c.cache_write_1h;
    c.input_audio = take(input, audio_in);
    c.input_image = take(input, image_in);
    c.input = input;

    c.output_reasoning = take(output, n(quantity::reasoning));
    c.output_audio = take(output, n(quantity::output_audio));
    const bool broken_down = numbers.has(quantity::output_image);
    c.output_image = take(output, rule.output_is_image && !broken_down ? output : n(quantity::output_image));
    c.output = output;

    c.web_searches = n(quantity::web_searches) + n(quantity::more_searches);
    return c;
}

}  // namespace keyhole::metering
