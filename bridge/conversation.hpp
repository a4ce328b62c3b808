// What a relay knows of the HTTP/1.1 conversation that it passes on: is a request under way, and has its
// answer begun? Only how messages are delimited is followed; nothing is kept or changed. What cannot be
// followed is said to be so (`unclear`), never guessed. Costs a look at each head and each chunk's size.
// Thread rule: its owner's.
#pragma once

#include <cstdint>
#include <string_view>

namespace keyhole::bridge {

/// Messages of one direction, as their bytes come, in pieces of any size.
class message_follower {
public:
    /// One message: the status of an answer; whether a request is HEAD.
    struct seen {
        bool began = false;  ///< its first byte was in this piece
        bool ended = false;
        bool final = true;  ///< false: an interim answer (1xx)
        bool is_head_request = false;
    };

    explicit message_follower(bool answers) noexcept : answers_(answers) {}

    /// Takes bytes up to the end of a message at most; `bodiless`: the answer is to a HEAD. Returns how many
    /// it took.
    std::size_t take(std::string_view bytes, bool bodiless, seen& out) noexcept;

    bool between_messages() const noexcept { return at_ == place::start && line_size_ == 0; }
    /// The last answer said that nothing comes after it.
    bool closes_after() const noexcept { return closes_; }
    bool is_lost() const noexcept { return at_ == place::lost; }
    /// Everything up to the end of the stream is this message's.
    bool ends_with_stream() const noexcept { return at_ == place::to_the_end; }
    void lose() noexcept { at_ = place::lost; }

private:
    enum class place : std::uint8_t {
        start,
        fields,
        body,
        chunk_size,
        chunk,
        chunk_end,
        trailer,
        to_the_end,
        lost
    };
    static constexpr std::size_t most_line = 46;  // of a line that matters, with room for blanks

    void end_line(bool bodiless, seen& out) noexcept;
    void end_start_line() noexcept;
    void end_field() noexcept;
    void end_head(bool bodiless, seen& out) noexcept;
    void end_chunk_size() noexcept;
    void end_message(seen& out) noexcept;
    std::string_view line() const noexcept { return {line_, line_size_}; }

    std::uint64_t left_ = 0;
    std::uint16_t status_ = 0;
    bool answers_;
    bool has_length_ = false;
    bool chunked_ = false;
    bool head_request_ = false;
    bool closes_ = false;
    bool cut_ = false;  ///< the line is longer than what is kept of it
    place at_ = place::start;
    std::uint8_t line_size_ = 0;
    char line_[most_line] = {};
};

class conversation {
public:
    enum class state : unsigned char {
        idle,        ///< all that was asked was answered
        unanswered,  ///< a request has begun, nothing of its answer has
        answering,
        ended,  ///< the last answer said that the connection ends with it
        unclear,
    };

    void asked(std::string_view bytes) noexcept;
    void answered(std::string_view bytes) noexcept;
    state now() const noexcept;
    /// The answer ends where the stream does: it cannot be seen whether it was whole.
    bool ends_with_stream() const noexcept { return answers_.ends_with_stream(); }

private:
    static constexpr std::uint32_t most_pipelined = 64;

    message_follower requests_{false};
    message_follower answers_{true};
    std::uint32_t asked_ = 0;     ///< requests that have begun
    std::uint32_t known_ = 0;     ///< of these, the ones of which it is known whether they are HEAD
    std::uint32_t answered_ = 0;  ///< final answers that have ended
    std::uint64_t head_requests_ = 0;
};

}  // namespace keyhole::bridge
