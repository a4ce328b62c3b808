// Reads HTTP/1.1 messages as far as load generator and mock need it: head, then a body by length or in
// chunks, delivered piece by piece. Whatever it does not understand is `broken`, which both sides count as an
// error. Thread rule: one owner.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace keyhole::bench {

struct message_head {
    std::string_view first_line;
    std::string_view credential;  ///< authorization, x-api-key or api-key, without "Bearer "
    std::string_view script;      ///< x-bench-script: how the mock shall answer
    std::int64_t length = -1;     ///< -1: not said
    bool chunked = false;
    bool close = false;
};

class message_sink {
public:
    virtual ~message_sink() = default;
    /// The views live until it returns.
    virtual void on_head(const message_head& head) = 0;
    virtual void on_body(std::string_view piece) = 0;
};

class message_reader {
public:
    enum class kind : std::uint8_t { request, response };
    enum class state : std::uint8_t { head, length, chunk_size, chunk, chunk_end, trailer, done, broken };

    explicit message_reader(kind k) noexcept : kind_{k} {}

    /// Takes all of `bytes`; after the message's end they must be empty, else the message is broken.
    state feed(std::string_view bytes, message_sink& sink);
    /// Ready for the next message.
    void next() noexcept;
    state where() const noexcept { return state_; }
    /// Nothing of a message has arrived.
    bool fresh() const noexcept { return state_ == state::head && line_.empty(); }

private:
    std::string_view take_head(std::string_view bytes, message_sink& sink);
    std::string_view take_line(std::string_view bytes, message_sink& sink);
    void end_line(std::string_view line);
    void begin(const message_head& head);

    std::string line_;  ///< a head or a chunk's line as far as it has come
    std::uint64_t left_ = 0;
    kind kind_;
    state state_ = state::head;
};

/// The number behind `name` in JSON text ("\"prompt_tokens\":" …); -1 if it is not there.
std::int64_t number_after(std::string_view text, std::string_view name) noexcept;

}  // namespace keyhole::bench
