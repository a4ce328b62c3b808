// What the proxy must know of a request's JSON body, found in one pass without building a tree.
// Invalid JSON is not refused here: it goes to the provider as it is, with what was found until then.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace keyhole::metering {

struct request_facts {
    bool is_object = false;  ///< the body begins with '{'
    /// The body is one valid JSON object, read to its end. Where it is not, what was found until then stays;
    /// policy that hangs on the model should refuse such an object, since more may stand behind the place
    /// where reading stopped.
    bool complete = false;
    /// A member that decides policy or price stands twice at the top level ("model" and "mod\u0065l", or
    /// "Model" for readers that ignore case): two readers could disagree on which one counts, so the request
    /// is refused (400). Names the member; empty: none.
    std::string ambiguous_member;
    /// Decoded, valid UTF-8; empty: absent or not a string; longer than 256 bytes: cut, and
    /// `ambiguous_member` = "model".
    std::string model;
    bool stream = false;
    bool background = false;  ///< the answer says only that the work goes on
    /// The largest of max_tokens, max_completion_tokens, max_output_tokens, and of Gemini's
    /// generationConfig.maxOutputTokens, Bedrock's inferenceConfig.maxTokens, Ollama's options.num_predict;
    /// at most 10^12.
    std::optional<std::int64_t> max_tokens;
    std::int64_t choices = 1;  ///< n, best_of: how many answers are asked for; at most 10^12
    std::string service_tier;  ///< as asked, at most 32 bytes
    /// Ids of what the request builds on and the provider keeps: previous_response_id, conversation (also as
    /// an object's id), previous_interaction_id, cachedContent, input_file_id, training_file,
    /// validation_file. Each at most 128 bytes; a longer one is cut, and can then belong to nobody.
    std::vector<std::string> builds_on;
    /// Bytes of the body that can become input tokens: everything but whitespace between tokens, and blobs.
    std::uint64_t text_bytes = 0;
    /// Strings of over 4 KiB of ASCII without whitespace or escapes: images, audio, files, or text that is
    /// meant to look like them (request_media.hpp tells which). Left out of text_bytes.
    std::uint64_t blobs = 0;
    std::uint64_t unbroken_bytes = 0;  ///< of the blobs, quotes included
    std::int64_t upload_tokens = 0;    ///< what a form's files may cost at most

    /// stream_options.include_usage as asked: nullopt absent, else whether it is `true`.
    std::optional<bool> include_usage;
    std::size_t object_open = 0;           ///< offset of the document's '{'
    std::size_t stream_options_open = 0;   ///< offset of stream_options' own '{'; 0: absent or not an object
    std::size_t stream_options_begin = 0;  ///< value span of a stream_options that is no object; both 0: none
    std::size_t stream_options_end = 0;
    std::size_t include_usage_begin = 0;  ///< value span of include_usage, for replacement; both 0: absent
    std::size_t include_usage_end = 0;
    bool stream_options_empty = false;  ///< "{}": no comma after an insertion
};

request_facts scan_request(std::string_view body);

/// The input tokens of a body with these facts, at a glance: for sessions without limits, where nothing hangs
/// on it. most_input_tokens() (request_media.hpp) is the bound. Never for billing.
std::int64_t estimate_input_tokens(const request_facts& facts) noexcept;

/// An edit of the body: `insert` replaces the bytes [begin, end). Nothing else of the body changes
/// (BYTES_UNTOUCHED).
struct body_edit {
    std::size_t begin = 0;
    std::size_t end = 0;
    std::string_view insert;  ///< a literal of the program
};

/// What makes an OpenAI chat or completions request report its usage at the stream's end, or nullopt where
/// the agent asked for it itself, does not stream, or the body can't be edited safely.
std::optional<body_edit> include_usage_edit(const request_facts& facts) noexcept;

/// Takes out again what an inserted include_usage adds to an OpenAI chat/completions stream: the extra last
/// chunk (empty choices, a usage object) and the `"usage":null` member of the others, so that the agent
/// receives the bytes it would have received without it. Events pass whole; an event over 1 MiB passes
/// unedited.
class include_usage_filter {
public:
    /// Feeds the next body bytes (after transfer decoding); returns what goes to the agent now (valid until
    /// the next call).
    std::string_view feed(std::string_view bytes);
    /// The body's end: what is still held.
    std::string_view finish();

private:
    void end_event(std::string_view tail);
    void pass(std::string_view event);

    std::string held_;  ///< an event that is not complete yet
    std::string out_;
    bool dropped_ = false;    ///< the last event was; the LF of its CRLF may come in the next bytes
    bool line_empty_ = true;  ///< no byte of the current line yet
    bool after_cr_ = false;   ///< an LF now belongs to the line end before it
    bool passing_ = false;    ///< within an event that is too long to be held
    bool first_ = true;       ///< nothing has passed yet: a BOM may come
};

}  // namespace keyhole::metering
