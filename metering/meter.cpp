#include "metering/meter.hpp"

#include "metering/answer_facts.hpp"
#include "metering/base64.hpp"
#include "metering/decode.hpp"
#include "metering/eventstream.hpp"
#include "metering/json_paths.hpp"
#include "metering/known_events.hpp"
#include "metering/numbers.hpp"
#include "metering/sse.hpp"

#include <algorithm>
#include <string>

namespace keyhole::metering {

namespace {

enum class framing : std::uint8_t { undecided, json, lines, sse, eventstream, opaque };

/// What the content type promises; the first byte of the body has the last word.
enum class promise : std::uint8_t { nothing, json, lines, sse, eventstream, other };

promise promise_of(std::string_view content_type)
{
    // As nearly all answers say it.
    if (content_type == "application/json") return promise::json;
    if (content_type.starts_with("text/event-stream")) return promise::sse;
    std::string type{content_type.substr(0, std::min<std::size_t>(content_type.find(';'), 64))};
    std::ranges::transform(type, type.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    const auto has = [&](std::string_view part) { return type.find(part) != std::string::npos; };
    if (has("event-stream")) return promise::sse;
    if (has("amazon.eventstream")) return promise::eventstream;
    if (has("ndjson") || has("jsonl") || has("jsonlines") || has("stream+json")) return promise::lines;
    if (has("json")) return promise::json;
    if (type.empty() || has("text/") || has("octet-stream")) return promise::nothing;
    return promise::other;
}

bool is_blank(char c) noexcept
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == '\xEF' || c == '\xBB' || c == '\xBF';
}

/// `data: [DONE]`, recognised from the pieces of an event's data.
class done_watch {
public:
    void add(std::string_view piece) noexcept
    {
        for (const char c : piece) {
            if (state_ == lost) return;
            if (state_ < marker.size() && c == marker[state_])
                ++state_;
            else if ((state_ == 0 || state_ == marker.size()) && is_blank(c))
                continue;
            else
                state_ = lost;
        }
    }
    bool seen() const noexcept { return state_ == marker.size(); }
    void reset() noexcept { state_ = 0; }

private:
    static constexpr std::string_view marker = "[DONE]";
    static constexpr std::size_t lost = 99;
    std::size_t state_ = 0;
};

/// Bedrock's invoke streams carry each event of the model as base64: {"bytes": "…"}.
class chunk_unwrapper final : public json_sink {
public:
    explicit chunk_unwrapper(json_reader& inner) : inner_{inner}, outer_{tree(), *this} {}

    void begin()
    {
        outer_.reset();
        base64_ = {};
    }
    void feed(std::string_view bytes) { outer_.feed(bytes); }

    void on_document_end(bool) override {}
    void on_scalar(path_id, const json_scalar&) override {}
    void on_piece(path_id, std::string_view piece) override
    {
        // Small steps keep the buffer small however long the piece is.
        while (!piece.empty()) {
            const std::string_view part = piece.substr(0, 4096);
            piece.remove_prefix(part.size());
            decoded_.clear();
            base64_.decode(part, decoded_);
            inner_.feed(decoded_);
        }
    }

private:
    static const path_tree& tree()
    {
        static const path_tree bytes = [] {
            path_tree t;
            t.add("bytes", interest::pieces);
            t.add("chunk.bytes", interest::pieces);
            return t;
        }();
        return bytes;
    }

    json_reader& inner_;
    json_reader outer_;
    base64_decoder base64_;
    std::string decoded_;
};

}  // namespace

struct meter::impl final : sse_sink, eventstream_sink, decoded_sink {
    impl(wire w, const answer_head& head)
        : format{w}
        , metered{w != wire::none || head.status >= 400}
        , by_line{rules_of(w).lines && head.status < 400}
        , said{promise_of(head.content_type)}
        , facts{w, head.status}
        , events{*this}
        , messages{*this}
    {
        bool known = true;
        decoder = content_decoder::make(head.content_encoding, known);
        if (!known) give_up("unknown_coding");
        if (w == wire::bedrock_invoke) {
            usage_numbers n;
            if (head.counts.input) n.set(quantity::input, *head.counts.input);
            if (head.counts.output) n.set(quantity::output, *head.counts.output);
            if (head.counts.cache_read) n.set(quantity::cache_read, *head.counts.cache_read);
            if (head.counts.cache_write) n.set(quantity::cache_write, *head.counts.cache_write);
            facts.header_counts(n);
        }
        facts.known().service_tier = head.service_tier.substr(0, 32);
        if (!head.error_type.empty() && head.status >= 400) facts.failed(head.error_type);
        facts.count_texts(head.texts);
    }

    void feed(std::string_view bytes)
    {
        if (!metered || bytes.empty()) return;
        if (!started) {
            started = true;
            // Compressed without saying so.
            bool known = true;
            if (!decoder && bytes[0] == '\x1f') decoder = content_decoder::make("gzip", known);
        }
        if (!decoder) {
            body(bytes);
            return;
        }
        if (!decoder->feed(bytes, *this)) give_up(decoder->swollen() ? "answer_swollen" : "undecodable");
    }

    /// Nothing more is read.
    void give_up(std::string_view why) noexcept
    {
        metered = false;
        facts.known().damaged = true;
        facts.known().unread = why;
    }

    void on_decoded(std::string_view bytes) override { body(bytes); }

    void body(std::string_view bytes)
    {
        if (form == framing::undecided && !decide(bytes)) return;
        switch (form) {
        case framing::json:
            if (begun)
                reader().feed(bytes);
            else
                begin_json(bytes);
            begun = true;
            if (reader().failed()) facts.known().damaged = true;
            break;
        case framing::lines:
            json_lines(bytes);
            break;
        case framing::sse:
            take_events(bytes);
            break;
        case framing::eventstream:
            messages.feed(bytes);
            if (messages.damaged()) facts.known().damaged = true;
            break;
        case framing::undecided:
        case framing::opaque:
            break;
        }
    }

    /// Takes what decides off `bytes`; false: more is needed.
    bool decide(std::string_view& bytes)
    {
        while (!bytes.empty() && is_blank(bytes[0]))
            bytes.remove_prefix(1);
        if (bytes.empty()) return false;
        const char c = bytes[0];
        const bool json = c == '{' || c == '[';
        // "data:", "event:", "id:", "retry:", "error:" or a comment.
        const bool sse = c == 'd' || c == 'e' || c == ':' || c == 'i' || c == 'r';
        // A message's length begins with a zero byte, as no text does; Bedrock's says so under any label.
        const bool bedrock = format == wire::bedrock_converse || format == wire::bedrock_invoke;
        if (c == '\0' && (said == promise::eventstream || said == promise::nothing || bedrock))
            form = framing::eventstream;
        else if (json)
            form = said == promise::lines || by_line ? framing::lines : framing::json;
        else if (said == promise::sse || (sse && said != promise::other))
            form = framing::sse;
        else if (said == promise::json || said == promise::lines)
            form = framing::json;
        else
            form = framing::opaque;
        if (form == framing::json) facts.one_body();
        // Records that are said to be one body: a broken one of them must not hide the others.
        if (form == framing::json && c == '{' && (format == wire::ollama || format == wire::cohere))
            form = framing::lines;
        return true;
    }

    /// Most events of a stream have a form that is known; the others are read.
    void take_events(std::string_view bytes)
    {
        auto& known = known_events::events_of(format);
        while (!bytes.empty()) {
            const bool whole = events.between_events();
            std::size_t n = whole ? known.take(bytes, reader(), facts, last_form) : 0;
            if (n == 0) {
                last_form = 0;
                n = events.feed_event(bytes);
                if (whole && events.between_events())
                    known.learn_event(bytes.substr(0, n), compiled(format).tree);
            }
            bytes.remove_prefix(n);
        }
        // Thousands of streams may wait for their next event at a time.
        if (reader_ && reader_->idle() && events.between_events()) reader_.reset();
    }

    json_reader& reader()
    {
        if (!reader_) reader_ = std::make_unique<json_reader>(compiled(format).tree, facts);
        return *reader_;
    }

    /// A body that stands whole in its first bytes may have a form that is known.
    void begin_json(std::string_view bytes)
    {
        auto& known = known_events::documents_of(format);
        const std::size_t n = known.take_body(bytes, reader(), facts);
        reader().feed(bytes.substr(n));
        if (n == 0 && reader().idle()) known.learn_document(bytes, compiled(format).tree);
    }

    /// One document a line; a line that is no JSON costs only itself.
    void json_lines(std::string_view bytes)
    {
        while (!bytes.empty()) {
            const std::size_t end = bytes.find('\n');
            const bool ended = end != std::string_view::npos;
            const std::string_view line = bytes.substr(0, end);
            reader().feed(line);
            bytes.remove_prefix(line.size() + (ended ? 1 : 0));
            if (reader().failed()) facts.known().damaged = true;
            if (!ended) return;
            if (reader().failed())
                next_document();
            else
                reader().feed("\n");
        }
    }

    void on_event_data(std::string_view piece) override
    {
        done.add(piece);
        reader().feed(piece);
    }
    void on_event_end(std::string_view name) override
    {
        reader().finish();
        if (done.seen())
            facts.done_marker();
        else if (name == "error")
            facts.event_type(name);
        done.reset();
        next_document();
    }
    void next_document()
    {
        if (!reader_) return;
        if (!reader_->idle()) facts.abandon_document(ending);
        reader_->reset();
    }
    void on_error_line() override { facts.failed("error"); }

    void on_message_begin(const eventstream_head& head) override
    {
        wrapped = head.event_type == "chunk";
        if (head.message_type == "exception" || head.message_type == "error")
            facts.failed(head.error_type);
        else
            facts.event_type(head.event_type);
        next_document();
        if (!wrapped) return;
        if (!unwrapper) unwrapper = std::make_unique<chunk_unwrapper>(reader());
        unwrapper->begin();
    }
    void on_payload(std::string_view piece) override
    {
        if (wrapped)
            unwrapper->feed(piece);
        else
            reader().feed(piece);
    }
    void on_message_end() override { reader().finish(); }

    void finish(bool complete)
    {
        ending = true;
        if (form == framing::json || form == framing::lines) reader().finish();
        if (form == framing::sse) events.finish();
        facts.abandon_document(true);
        facts.settle();
        reading& r = facts.known();
        if (!facts.has_usage())
            r.source = usage_source::none;
        else if (r.terminal || (complete && whole() && !facts.needs_terminal()))
            r.source = usage_source::provider;
        else
            r.source = usage_source::provider_partial;
    }

    /// The body's own form says that it did not end in the middle of something.
    bool whole() const noexcept
    {
        switch (form) {
        case framing::json:
        case framing::lines:
            return !reader_ || reader_->idle();
        case framing::eventstream:
            return messages.idle();
        default:
            return true;
        }
    }

    wire format;
    bool metered;
    bool by_line;
    promise said;
    framing form = framing::undecided;
    bool wrapped = false;
    bool started = false;
    bool begun = false;  ///< a JSON body
    bool finished = false;
    bool ending = false;
    std::uint32_t last_form = 0;  ///< of the event before
    std::unique_ptr<content_decoder> decoder;
    answer_facts facts;
    std::unique_ptr<json_reader> reader_;
    sse_splitter events;
    eventstream_splitter messages;
    std::unique_ptr<chunk_unwrapper> unwrapper;  ///< from the first event that needs it on
    done_watch done;
};

meter::meter(wire w, const answer_head& head) : impl_{std::make_unique<impl>(w, head)} {}
meter::~meter() = default;
meter::meter(meter&&) noexcept = default;
meter& meter::operator=(meter&&) noexcept = default;

void meter::feed(std::string_view bytes)
{
    if (impl_->finished) return;
    try {
        impl_->feed(bytes);
    } catch (...) {  // out of memory: what is known stays known
        impl_->give_up("not_metered");
    }
}

const reading& meter::finish(bool complete)
{
    if (!impl_->finished) {
        impl_->finished = true;
        try {
            impl_->finish(complete);
        } catch (...) {
            impl_->give_up("not_metered");
        }
    }
    return impl_->facts.known();
}

const reading& meter::so_far() const noexcept
{
    reading& r = impl_->facts.known();
    if (impl_->finished) return r;
    impl_->facts.settle();
    if (!impl_->facts.has_usage())
        r.source = usage_source::none;
    else
        r.source = r.terminal ? usage_source::provider : usage_source::provider_partial;
    return r;
}

}  // namespace keyhole::metering
