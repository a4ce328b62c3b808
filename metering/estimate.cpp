#include "metering/estimate.hpp"

#include "metering/json_scan.hpp"
#include "metering/request_media.hpp"

#include <algorithm>
#include <string>
#include <vector>

namespace keyhole::metering {

namespace {

constexpr std::uint64_t one = 1000;

/// What a wire adds to its text.
struct wire_weights {
    wire id;
    std::uint64_t permille;    ///< of the text's count, where deltas don't tell
    std::int64_t answer;       ///< tokens of the answer's own frame
    std::int64_t call;         ///< tokens of a tool call's name and frame
    std::int64_t seal_head;    ///< characters of sealed reasoning that hold nothing
    std::int64_t seal_tenths;  ///< tenths of a character of sealed reasoning a token
};

constexpr wire_weights otherwise{wire::none, 1000, 1, 10, 0, 70};
constexpr wire_weights weights[] = {
    {wire::openai_responses, 1100, 1, 12, 0, 66},
    {wire::anthropic_messages, 1100, 3, 45, 0, 100},
    {wire::bedrock_converse, 1000, 2, 10, 0, 100},
    {wire::gemini, 1050, 2, 10, 120, 56},
    {wire::cohere, 1000, 4, 20, 0, 70},
};

const wire_weights& weights_of(wire w) noexcept
{
    const auto* found = std::ranges::find(weights, w, &wire_weights::id);
    return found == std::end(weights) ? otherwise : *found;
}

constexpr std::size_t most_read = 1U << 20U;
/// More are not looked for: what is behind them counts as text.
constexpr std::size_t most_media = 1000;
/// What is longer is no label, whatever its name (a tool's arguments may have any).
constexpr std::size_t longest_label = 256;
/// A token.
constexpr std::size_t longest_key = 32;

/// Members whose strings the model never sees as text.
bool is_label(std::string_view key) noexcept
{
    constexpr std::string_view labels[] = {"role",
                                           "type",
                                           "id",
                                           "model",
                                           "tool_call_id",
                                           "call_id",
                                           "tool_use_id",
                                           "status",
                                           "signature",
                                           "encrypted_content",
                                           "thoughtSignature",
                                           "service_tier",
                                           "object",
                                           "tool_choice",
                                           "user",
                                           "effort",
                                           "reasoning_effort",
                                           "media_type",
                                           "mimeType",
                                           "cache_control"};
    return std::ranges::find(labels, key) != std::end(labels);
}

/// In the body's order.
std::vector<media_part> media_in(wire w, std::string_view body)
{
    std::vector<media_part> out;
    each_media(w, {}, body, [&out](const media_part& part) {
        if (out.size() < most_media) out.push_back(part);
    });
    std::ranges::sort(out, {}, &media_part::begin);
    return out;
}

/// The texts of a body. What comes behind the first megabyte is taken to be written as that is.
class long_text {
public:
    void add(std::string_view raw)
    {
        const auto read = raw.substr(0, most_read - std::min(counted_, most_read));
        decoded_.clear();
        decode_json_string(read, read.size(), decoded_);
        counter_.add(decoded_);
        counter_.end();
        counted_ += read.size();
        all_ += raw.size();
    }
    std::uint64_t tokens() const noexcept
    {
        const std::uint64_t of_these = counter_.millitokens() / one;
        if (all_ == counted_) return of_these;
        const double share = static_cast<double>(all_) / static_cast<double>(counted_);
        return static_cast<std::uint64_t>(static_cast<double>(of_these) * share);
    }

private:
    token_counter counter_;
    std::string decoded_;
    std::size_t counted_ = 0;
    std::size_t all_ = 0;
};

/// To the next quotation mark. Counts the elements of arrays that are numbers: tokens by their ids, as some
/// APIs take prompts, or a text of numbers.
bool skip_to_string(json_cursor& at, std::uint64_t& numbers) noexcept
{
    bool element = false;
    while (!at.done() && at.peek() != '"') {
        const char c = at.peek();
        if (element && (c == '-' || (c >= '0' && c <= '9'))) ++numbers;
        if (c != ' ' && c != '\n' && c != '\r' && c != '\t') element = c == '[' || c == ',';
        at.skip_byte();
    }
    return !at.done();
}

}  // namespace

std::int64_t estimate_output(wire w, const written_text& text, bool streamed) noexcept
{
    if (text.empty()) return 0;
    const wire_weights& by = weights_of(w);
    // Providers that send an event a token leave nothing to guess. Whether this one does shows in its
    // deltas: about as many as the text's own count.
    const std::uint64_t counted = (text.millitokens + one / 2) / one;
    const bool token_an_event =
        streamed && text.deltas * 10 >= counted * 9 && text.deltas * 10 <= counted * 16 + 30;
    auto tokens = static_cast<std::int64_t>(
        token_an_event ? text.deltas : (text.millitokens / one * by.permille + one / 2) / one);
    tokens += by.answer + static_cast<std::int64_t>(text.calls) * by.call;
    const auto sealed = text.sealed_bytes - static_cast<std::int64_t>(text.sealed) * by.seal_head;
    return tokens + std::max<std::int64_t>(sealed, 0) * 10 / by.seal_tenths;
}

std::int64_t estimate_input(wire w, std::string_view body)
{
    const auto media = media_in(w, body);
    auto next_media = media.begin();
    json_cursor cursor{body};
    long_text texts;
    std::uint64_t frame = 0;  // keys, and numbers in arrays
    std::int64_t shown = 0;   // of media
    bool label = false;       // the member before it names the string instead of holding text
    bool tools = false;
    json_string text;
    while (skip_to_string(cursor, frame)) {
        const std::size_t begin = cursor.offset() + 1;
        const bool whole = cursor.read_string(text);
        if (!whole) text = {body.substr(begin), true};
        cursor.skip_space();
        if (whole && !cursor.done() && cursor.peek() == ':') {
            frame += 1 + text.raw.size() / longest_key;
            label = is_label(text.raw);
            tools = tools || text.raw == "tools";
            continue;
        }
        while (next_media != media.end() && next_media->begin < begin)
            ++next_media;
        if (next_media != media.end() && next_media->begin == begin)
            shown += next_media->tokens.likely;
        else if (!label || text.raw.size() > longest_label)
            texts.add(text.raw);
        label = false;
    }
    std::uint64_t tokens = frame + texts.tokens();
    // https://docs.claude.com/en/docs/agents-and-tools/tool-use/overview: the system prompt of tool use.
    if (tools && w == wire::anthropic_messages) tokens += 346;
    return static_cast<std::int64_t>(tokens) + shown;
}

std::int64_t rough_input(std::uint64_t text_bytes) noexcept
{
    return static_cast<std::int64_t>(text_bytes / 4);
}

std::int64_t sampled_input(std::string_view body, std::uint64_t text_bytes) noexcept
{
    constexpr std::size_t samples = 4;
    constexpr std::size_t piece = 256;
    const std::size_t stride = std::max(body.size() / samples, piece);
    token_counter counter;
    std::size_t read = 0;
    for (std::size_t i = 0; i < samples; ++i) {
        const std::size_t at = i * stride + (stride - piece) / 2;
        if (at >= body.size()) break;
        const auto sample = body.substr(at, piece);
        counter.add(sample);
        counter.end();
        read += sample.size();
    }
    // Of texts that fit into memory: nothing overflows.
    return read == 0 ? 0 : static_cast<std::int64_t>(counter.millitokens() * (text_bytes / one + 1) / read);
}

}  // namespace keyhole::metering
