// Bytes that keep a connection alive and say nothing: comments and pings of an event stream, blanks before a
// JSON text. The first token's time is that of the first byte behind them. No I/O. Thread rule: one owner.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace keyhole::proxy {

class silence_watch {
public:
    enum class form : std::uint8_t {
        any,     ///< compressed: every byte counts
        text,    ///< every byte but white space
        events,  ///< every line but comments, and events of the name ping
    };

    explicit silence_watch(form of = form::any) noexcept : form_{of} {}

    /// Whether the answer says something with these bytes. Not asked again once it does.
    bool broken_by(std::string_view bytes) noexcept;

private:
    bool broken_by(char c) noexcept;

    form form_;
    bool skips_ = false;  ///< the rest of a line that says nothing
    bool ping_ = false;   ///< within an event of that name
    bool after_cr_ = false;
    std::uint8_t size_ = 0;
    std::array<char, 12> line_{};  ///< the beginning of a line that may be the name
};

}  // namespace keyhole::proxy
