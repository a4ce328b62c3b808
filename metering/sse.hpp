// Splits a text/event-stream body into events by the WHATWG rules (BOM, CR, LF, CRLF, comments, data on
// several lines, no space after the colon), except that an event the body's end cuts off is delivered too. It
// holds no line: data passes piece by piece, so an event of any size costs nothing.
// https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
// Thread rule: one owner.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace keyhole::metering {

class sse_sink {
public:
    virtual ~sse_sink() = default;
    /// A piece of the current event's data; lines are joined by "\n" pieces.
    virtual void on_event_data(std::string_view piece) = 0;
    /// The current event is complete. `name` is its event field (cut at 48 bytes), empty: none.
    virtual void on_event_end(std::string_view name) = 0;
    /// A line "error: …" which is no SSE field: llama-box reports a failure so. `value` may be cut.
    virtual void on_error_line() {}
};

class sse_splitter {
public:
    explicit sse_splitter(sse_sink& sink) noexcept : sink_{sink} {}

    void feed(std::string_view bytes);
    /// Takes the bytes up to the end of one event (its last line end whole, where that is there) and returns
    /// how many.
    std::size_t feed_event(std::string_view bytes);
    /// The next byte begins an event.
    bool between_events() const noexcept
    {
        return part_ == part::name && name_size_ == 0 && event_size_ == 0 && !has_data_ && !skip_lf_ &&
               bom_ == 3;
    }
    /// The body's end: delivers an event that no blank line ended.
    void finish();

private:
    enum class part : std::uint8_t { name, after_colon, value };
    enum class field : std::uint8_t { data, event, other };

    const char* read_name(const char* p, const char* end, bool& event_ended);
    const char* take_lf(const char* p, const char* end) noexcept;
    void value_piece(std::string_view piece);
    void end_name(std::string_view name);
    bool end_line();

    sse_sink& sink_;
    part part_ = part::name;
    field field_ = field::other;
    bool skip_lf_ = false;   ///< the last byte was CR
    bool has_data_ = false;  ///< the event has a data line
    std::uint8_t bom_ = 0;   ///< bytes of a BOM seen at the very start; 3: past it
    std::uint8_t name_size_ = 0;
    std::uint8_t event_size_ = 0;
    std::array<char, 8> name_{};    ///< the field's name as far as it was cut off
    std::array<char, 48> event_{};  ///< the event field's value
};

}  // namespace keyhole::metering
