#include "metering/request_facts.hpp"

#include "metering/json_scan.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

namespace keyhole::metering {
namespace {

constexpr std::size_t longest_model = 256;
constexpr std::size_t longest_tier = 32;
constexpr std::size_t longest_id = 128;
constexpr std::int64_t tokens_a_blob = 2000;
// More than any provider grants. A larger wish counts as this one, so that sums over requests stay far from
// overflowing.
constexpr std::int64_t largest_count = 1'000'000'000'000;

enum member : std::size_t {
    member_model,
    member_stream,
    member_background,
    member_max_tokens,
    member_max_completion_tokens,
    member_max_output_tokens,
    member_n,
    member_best_of,
    member_stream_options,
    member_service_tier,
    member_previous_response_id,  // from here on: references to what the provider keeps
    member_conversation,
    member_previous_interaction_id,
    member_previous_interaction_id_too,
    member_cached_content,
    member_cached_content_too,
    member_input_file_id,
    member_training_file,
    member_validation_file,
    member_generation_config,  // from here on: objects that hold the bound of the answer (Gemini, Bedrock,
                               // Ollama)
    member_generation_config_too,
    member_inference_config,
    member_options,
    member_extra_body,  // what is meant for Google alone, in OpenAI's form of a request
    member_count,
};

constexpr std::array<std::string_view, member_count> member_names = {
    // clang-format off
    "model", "stream", "background", "max_tokens", "max_completion_tokens", "max_output_tokens", "n", "best_of", "stream_options",
    "service_tier", "previous_response_id", "conversation", "previous_interaction_id", "previousInteractionId", "cachedContent", "cached_content", "input_file_id", "training_file", "validation_file",
    "generationConfig", "generation_config", "inferenceConfig", "options", "extra_body"
    // clang-format on
};
constexpr std::size_t longest_name = 23;
constexpr std::string_view include_usage_name = "include_usage";

// Go's reader takes "Model" (and the two letters outside ASCII that fold to s and k) for "model".
bool folds_to(std::string_view text, std::string_view name)
{
    constexpr std::string_view long_s = "\xC5\xBF";
    constexpr std::string_view kelvin = "\xE2\x84\xAA";
    for (const char expected : name) {
        std::size_t length = 1;
        if (expected == 's' && text.starts_with(long_s)) {
            length = long_s.size();
        } else if (expected == 'k' && text.starts_with(kelvin)) {
            length = kelvin.size();
        } else {
            if (text.empty()) return false;
            const char c = text.front();
            if ((c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c) != expected) return false;
        }
        text.remove_prefix(length);
    }
    return text.empty();
}

constexpr char foreign = '\x7f';

// Of a key, as most names differ in it already. Outside ASCII it may fold to any.
char first_letter(std::string_view key)
{
    if (key.empty()) return '\0';
    const char c = key.front();
    if (static_cast<unsigned char>(c) >= 0x80) return foreign;
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

enum class match { none, folded, exact };

match match_name(std::string_view key, std::string_view name)
{
    if (key == name) return match::exact;
    return key.size() >= name.size() && folds_to(key, name) ? match::folded : match::none;
}

// Only an unsigned integer counts: 4096.0 or "4096" is for the provider to judge.
std::optional<std::int64_t> count_of(std::string_view token)
{
    if (token.empty() || token.find_first_not_of("0123456789") != token.npos) return std::nullopt;
    std::int64_t value = 0;
    const auto [end, ec] = std::from_chars(token.data(), token.data() + token.size(), value);
    return ec == std::errc() ? std::min(value, largest_count) : largest_count;
}

class request_scan {
public:
    explicit request_scan(std::string_view body) : body_(body), cursor_(body) {}

    request_facts run()
    {
        cursor_.skip_space();
        if (cursor_.done() || cursor_.peek() != '{') {
            facts_.unbroken_bytes = body_.size();  // who knows what it is to whom it is sent
            return std::move(facts_);
        }
        facts_.is_object = true;
        facts_.object_open = cursor_.offset();
        const auto spaces_before = cursor_.spaces();
        bool whole = cursor_.read_members([this](const json_member& m) { return take_member(m.key); });
        if (whole) {
            cursor_.skip_space();
            whole = cursor_.done();
        }
        facts_.complete = whole && !cursor_.faulty();
        // What could not be followed counts as text: an estimate must not shrink because the body is odd.
        facts_.blobs = cursor_.blobs();
        facts_.unbroken_bytes = cursor_.blob_bytes();
        facts_.text_bytes =
            body_.size() - facts_.object_open - (cursor_.spaces() - spaces_before) - cursor_.blob_bytes();
        return std::move(facts_);
    }

private:
    void ambiguous(std::string_view name)
    {
        if (facts_.ambiguous_member.empty()) facts_.ambiguous_member = name;
    }

    // The key as it is compared; longer than any name we look for even in its longest spelling: empty.
    std::string_view comparable(const json_string& key)
    {
        if (!key.escaped) return key.raw;
        if (key.raw.size() > longest_name * 6) return {};
        decoded_.clear();
        decode_json_string(key.raw, longest_name * 3, decoded_);
        return decoded_;
    }

    bool take_member(const json_string& key)
    {
        const std::string_view name = comparable(key);
        const char first = first_letter(name);
        for (std::size_t i = 0; i < member_names.size(); ++i) {
            if (member_names[i].front() != first && first != foreign) continue;
            const match found = match_name(name, member_names[i]);
            if (found == match::none) continue;
            if (seen_[i]) ambiguous(member_names[i]);
            seen_[i] = true;
            if (found == match::folded) break;
            return take_value(i);
        }
        return cursor_.skip_value();
    }

    bool take_value(std::size_t which)
    {
        if (which == member_stream_options) return take_stream_options();
        if (which == member_extra_body) return take_extra_body();
        if (which >= member_generation_config) return take_bounds();
        if (which >= member_previous_response_id) return take_reference();
        if (which == member_model || which == member_service_tier) {
            if (cursor_.peek() != '"') return cursor_.skip_value();
            json_string text;
            if (!cursor_.read_string(text)) return false;
            if (which == member_model) {
                take_model(text);
            } else {
                facts_.service_tier.clear();
                decode_json_string(text.raw, longest_tier, facts_.service_tier);
            }
            return true;
        }
        const std::size_t begin = cursor_.offset();
        if (!cursor_.skip_value()) return false;
        take_scalar(which, cursor_.since(begin));
        return true;
    }

    void take_model(const json_string& text)
    {
        facts_.model.clear();
        if (!decode_json_string(text.raw, longest_model, facts_.model)) ambiguous("model");
    }

    /// A string, or an object whose "id" is one. Anything else refers to nothing.
    bool take_reference()
    {
        if (cursor_.peek() == '{') {
            return cursor_.read_members([this](const json_member& m) {
                const bool is_string = cursor_.peek() == '"';
                return is_string && match_name(comparable(m.key), "id") != match::none ? take_reference()
                                                                                       : cursor_.skip_value();
            });
        }
        if (cursor_.peek() != '"') return cursor_.skip_value();
        json_string text;
        if (!cursor_.read_string(text)) return false;
        std::string id;
        decode_json_string(text.raw, longest_id, id);
        if (!id.empty()) facts_.builds_on.push_back(std::move(id));
        return true;
    }

    /// {"google": {"cached_content": …}}: https://ai.google.dev/gemini-api/docs/openai
    bool take_extra_body()
    {
        if (cursor_.peek() != '{') return cursor_.skip_value();
        return cursor_.read_members([this](const json_member& m) {
            return comparable(m.key) == "google" ? take_cached_content() : cursor_.skip_value();
        });
    }

    bool take_cached_content()
    {
        if (cursor_.peek() != '{') return cursor_.skip_value();
        return cursor_.read_members([this](const json_member& m) {
            const std::string_view name = comparable(m.key);
            const bool reference = name == member_names[member_cached_content] ||
                                   name == member_names[member_cached_content_too];
            return reference ? take_reference() : cursor_.skip_value();
        });
    }

    bool take_bounds()
    {
        if (cursor_.peek() != '{') return cursor_.skip_value();
        return cursor_.read_members([this](const json_member& m) {
            constexpr std::array bounds{std::string_view("maxOutputTokens"),
                                        std::string_view("max_output_tokens"), std::string_view("maxTokens"),
                                        std::string_view("num_predict")};
            constexpr std::array answers{std::string_view("candidateCount"),
                                         std::string_view("candidate_count")};
            const std::string_view name = comparable(m.key);
            const bool bound = std::ranges::find(bounds, name) != bounds.end();
            const bool many = std::ranges::find(answers, name) != answers.end();
            const std::size_t begin = cursor_.offset();
            if (!cursor_.skip_value()) return false;
            if (bound) take_scalar(member_max_tokens, cursor_.since(begin));
            if (many) take_scalar(member_n, cursor_.since(begin));
            return true;
        });
    }

    void take_scalar(std::size_t which, std::string_view token)
    {
        if (which == member_stream) {
            facts_.stream = token == "true";
            return;
        }
        if (which == member_background) {
            facts_.background = token == "true";
            return;
        }
        const auto count = count_of(token);
        if (!count) return;
        if (which == member_n || which == member_best_of) {
            facts_.choices = std::max(facts_.choices, *count);
        } else {
            facts_.max_tokens = std::max(facts_.max_tokens.value_or(0), *count);
        }
    }

    bool take_stream_options()
    {
        const std::size_t begin = cursor_.offset();
        if (cursor_.peek() != '{') {
            if (!cursor_.skip_value()) return false;
            facts_.stream_options_begin = begin;
            facts_.stream_options_end = cursor_.offset();
            return true;
        }
        facts_.stream_options_open = begin;
        facts_.stream_options_empty = true;
        return cursor_.read_members([this](const json_member& m) { return take_option(m.key); });
    }

    bool take_option(const json_string& key)
    {
        facts_.stream_options_empty = false;
        const match found = match_name(comparable(key), include_usage_name);
        if (found == match::none) return cursor_.skip_value();
        if (include_usage_seen_) ambiguous(include_usage_name);
        include_usage_seen_ = true;
        const std::size_t begin = cursor_.offset();
        if (!cursor_.skip_value()) return false;
        if (found == match::exact) {
            facts_.include_usage = cursor_.since(begin) == "true";
            facts_.include_usage_begin = begin;
            facts_.include_usage_end = cursor_.offset();
        }
        return true;
    }

    std::string_view body_;
    json_cursor cursor_;
    request_facts facts_;
    std::array<bool, member_count> seen_{};
    bool include_usage_seen_ = false;
    std::string decoded_;
};

}  // namespace

request_facts scan_request(std::string_view body)
{
    return request_scan(body).run();
}

std::int64_t estimate_input_tokens(const request_facts& facts) noexcept
{
    // In this order nothing overflows for any body that fits into memory.
    return static_cast<std::int64_t>(facts.text_bytes / 2 + facts.text_bytes % 2) +
           static_cast<std::int64_t>(facts.blobs) * tokens_a_blob + facts.upload_tokens;
}

std::optional<body_edit> include_usage_edit(const request_facts& facts) noexcept
{
    if (!facts.stream || !facts.complete || !facts.ambiguous_member.empty()) return std::nullopt;
    if (facts.include_usage_end != 0) {
        if (facts.include_usage.value_or(false)) return std::nullopt;
        return body_edit{facts.include_usage_begin, facts.include_usage_end, "true"};
    }
    if (facts.stream_options_open != 0) {
        const std::size_t at = facts.stream_options_open + 1;
        return body_edit{at, at,
                         facts.stream_options_empty ? R"("include_usage":true)" : R"("include_usage":true,)"};
    }
    if (facts.stream_options_end != 0) {
        return body_edit{facts.stream_options_begin, facts.stream_options_end, R"({"include_usage":true})"};
    }
    const std::size_t at = facts.object_open + 1;
    return body_edit{at, at, R"("stream_options":{"include_usage":true},)"};
}

}  // namespace keyhole::metering
