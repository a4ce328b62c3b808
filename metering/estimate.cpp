#include "metering/estimate.hpp"

#include "metering/byte_scan.hpp"
#include "metering/json_scan.hpp"

#include <algorithm>
#include <array>
#include <string>

namespace keyhole::metering {

namespace {

constexpr std::uint64_t one = 1000;

/// What a byte begins.
enum class sort : std::uint8_t {
    space,
    line_end,
    letter,
    digit,
    sign,
    continuation,
    latin,  ///< accented letters, Greek, Cyrillic, Hebrew, Arabic: words, a token every few letters
    cjk,    ///< a token a character, often less
    other,  ///< scripts and symbols of three bytes that tokenizers know less well
    rare,   ///< four bytes: emoji, rare ideographs
};

constexpr sort sort_of(unsigned c) noexcept
{
    if (c == '\n' || c == '\r') return sort::line_end;
    if (c == ' ' || c == '\t') return sort::space;
    if (c >= '0' && c <= '9') return sort::digit;
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return sort::letter;
    if (c < 0x80) return sort::sign;
    if (c < 0xc0) return sort::continuation;
    if (c < 0xe0) return sort::latin;
    if (c >= 0xe3 && c <= 0xed) return sort::cjk;
    return c < 0xf0 ? sort::other : sort::rare;
}

constexpr auto sorts = [] {
    std::array<sort, 256> table{};
    for (unsigned c = 0; c < table.size(); ++c)
        table[c] = sort_of(c);
    return table;
}();

/// A word of up to nine letters is a token; a longer one grows by pieces. No word has over forty letters:
/// that is base64 or the like.
constexpr std::uint64_t whole_word = 9;
constexpr std::uint64_t word_piece = 5;
constexpr std::uint64_t longest_word = 40;
constexpr std::uint64_t blob_piece = 3;
constexpr std::uint64_t digits_a_token = 3;
constexpr std::uint64_t signs_a_token = 3;

/// Tokens that the first `length` letters of a run begin.
constexpr std::uint64_t letter_tokens(std::uint64_t length) noexcept
{
    const auto pieces = [](std::uint64_t letters, std::uint64_t piece) {
        return (letters + piece - 1) / piece;
    };
    if (length <= whole_word) return length != 0 ? 1 : 0;
    if (length <= longest_word) return 1 + pieces(length - whole_word, word_piece);
    return 1 + pieces(longest_word - whole_word, word_piece) + pieces(length - longest_word, blob_piece);
}

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
/// A longer string without a space is a picture, a sound, a file.
constexpr std::size_t longest_unbroken = 4096;

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

std::size_t letters_at(std::string_view text) noexcept
{
    const char* p = text.data();
    const char* const end = p + text.size();
    if (text.size() >= 16) return static_cast<std::size_t>(find_no_letter(p, end) - p);
    while (p != end && sorts[static_cast<unsigned char>(*p)] == sort::letter)
        ++p;
    return static_cast<std::size_t>(p - text.data());
}

}  // namespace

void token_counter::enter(run next) noexcept
{
    if (now_ != next) length_ = 0;
    now_ = next;
    ++length_;
}

void token_counter::add(std::string_view utf8) noexcept
{
    const auto sort_at = [&](std::size_t i) { return sorts[static_cast<unsigned char>(utf8[i])]; };
    for (std::size_t i = 0; i < utf8.size(); ++i) {
        switch (sort_at(i)) {
        case sort::space:
            enter(run::space);
            // One space belongs to the word behind it; more are a token of their own.
            if (length_ == 2) count_ += one;
            break;
        case sort::line_end:
            // Line ends right after signs are theirs.
            if (now_ == run::signs) break;
            enter(run::line_end);
            if (length_ == 1) count_ += one;
            break;
        case sort::letter: {
            // Most of any text: by the word, not by the letter.
            enter(run::letters);
            const std::size_t more = letters_at(utf8.substr(i + 1));
            const std::uint64_t before = length_ - 1;
            length_ += more;
            i += more;
            count_ += (letter_tokens(length_) - letter_tokens(before)) * one;
            break;
        }
        case sort::digit:
            enter(run::digits);
            if (length_ % digits_a_token == 1) count_ += one;
            break;
        case sort::sign:
            enter(run::signs);
            if (length_ % signs_a_token == 1) count_ += one;
            break;
        case sort::continuation:
            break;
        case sort::latin:
            enter(run::foreign);
            count_ += length_ == 1 ? 700 : 350;
            break;
        case sort::cjk:
            enter(run::foreign);
            count_ += 800;
            break;
        case sort::other:
            enter(run::foreign);
            count_ += 700;
            break;
        case sort::rare:
            enter(run::foreign);
            count_ += 2 * one;
            break;
        }
    }
}

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
    const std::string_view read = body.substr(0, most_read);
    json_cursor cursor{read};
    token_counter texts;
    std::string decoded;
    std::uint64_t keys = 0;
    bool label = false;  // the member before it names the string instead of holding text
    bool tools = false;
    json_string text;
    while (!cursor.done()) {
        if (cursor.peek() != '"') {
            cursor.skip_byte();
            continue;
        }
        if (!cursor.read_string(text)) break;
        cursor.skip_space();
        if (!cursor.done() && cursor.peek() == ':') {
            ++keys;
            label = is_label(text.raw);
            tools = tools || text.raw == "tools";
            continue;
        }
        if (!label && (text.raw.size() <= longest_unbroken || text.raw.find(' ') != text.raw.npos)) {
            decoded.clear();
            decode_json_string(text.raw, text.raw.size(), decoded);
            texts.add(decoded);
            texts.end();
        }
        label = false;
    }
    std::uint64_t tokens = keys + texts.millitokens() / one + (body.size() - read.size()) / 4;
    // https://docs.claude.com/en/docs/agents-and-tools/tool-use/overview: the system prompt of tool use.
    if (tools && w == wire::anthropic_messages) tokens += 346;
    return static_cast<std::int64_t>(tokens);
}

}  // namespace keyhole::metering
