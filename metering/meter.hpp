// Watches the bytes of one answer pass and finds its usage. It never holds the body: memory is bounded
// whatever the size. The bytes go to the agent first; the meter looks at them afterwards and can neither
// delay nor change them. Thread rule: one owner, one thread. Never throws on any input (bad input means
// "nothing found").
#pragma once

#include "metering/estimate.hpp"
#include "metering/usage.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace keyhole::metering {

/// What is known of an answer so far; complete after finish().
struct reading {
    token_counts counts;
    usage_source source = usage_source::none;
    std::optional<std::int64_t> provider_total;  ///< the total that the provider printed itself
    bool total_mismatch = false;                 ///< provider_total differs from the buckets' sum
    bool terminal = false;  ///< the API's own last event was seen ([DONE], message_stop, response.completed
                            ///< …), or a whole JSON body
    bool error_event = false;  ///< a stream that turned into an error
    std::string error_type;    ///< of error_event or of an error body, at most 64 bytes, [a-z0-9_.-] only
    std::string model;         ///< the model that answered, at most 96 bytes
    std::string id;            ///< the answer's own id (msg_…, chatcmpl-…, resp_…), at most 96 bytes
    std::string service_tier;  ///< as answered, at most 32 bytes
    std::string state;         ///< of a stored answer: queued, completed …; at most 32 bytes
    std::int64_t provider_cost_nano_usd = 0;  ///< OpenRouter's own usage.cost; 0: not given
    written_text text;  ///< generated text, thinking and tool arguments that passed (for estimates)
    /// Billed beside `counts` and not in them: Anthropic's usage.iterations (compaction, advisor, fallback)
    /// counts work that the usage beside it leaves out. Zero on every other wire.
    token_counts beyond;
    std::string beyond_model;  ///< whose work that was, where it was not the answering model's
    std::string_view unread;   ///< why a part of the body was not read, as an error class; empty: it was
    bool damaged =
        false;  ///< a part of the body could not be read: bad JSON, a frame's checksum, bad compression
};

/// Counts that stand in an answer's head (Bedrock's x-amzn-bedrock-*-token-count): used where the body has
/// none.
struct head_counts {
    std::optional<std::int64_t> input = {};
    std::optional<std::int64_t> output = {};
    std::optional<std::int64_t> cache_read = {};
    std::optional<std::int64_t> cache_write = {};
};

/// Which answers' written_text is counted.
enum class texts_counted : std::uint8_t {
    all,
    unbilled,  ///< not of one JSON body that tells its usage: nobody asks for an estimate of that
};

/// Facts of an answer's head that decide how its body is read.
struct answer_head {
    int status = 200;
    std::string_view content_type =
        {};  ///< text/event-stream, application/json, application/x-ndjson, …; may be empty
    std::string_view content_encoding = {};  ///< identity (or empty), gzip, deflate, br, zstd
    head_counts counts = {};                 ///< bedrock_invoke only
    std::string_view service_tier = {};      ///< Bedrock's x-amzn-bedrock-service-tier; empty: none
    std::string_view error_type = {};        ///< Bedrock's x-amzn-errortype; empty: none
    texts_counted texts = texts_counted::all;
};

class meter {
public:
    meter(wire w, const answer_head& head);
    ~meter();
    meter(meter&&) noexcept;
    meter& operator=(meter&&) noexcept;

    /// The next body bytes, after transfer decoding (no chunk framing), before content decoding.
    void feed(std::string_view bytes);

    /// The body ended (or was cut: `complete` false). Idempotent.
    const reading& finish(bool complete);

    /// What is known up to now; cheap, may be asked at any time (the journal slot is kept current from it).
    const reading& so_far() const noexcept;

private:
    struct impl;
    std::unique_ptr<impl> impl_;
};

}  // namespace keyhole::metering
