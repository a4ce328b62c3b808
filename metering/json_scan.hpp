// A cursor that walks over JSON text without building anything: values are skipped, members are handed to a
// function. Lenient in what it walks over and strict in what it calls valid: a NaN or a raw newline in a
// string sets `faulty`, and the walk goes on, so that nothing can hide behind what some other reader would
// have accepted. No thread may share a cursor; the text must outlive it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace keyhole::metering {

struct json_string {
    std::string_view raw;  ///< between the quotes, escapes as they stand
    bool escaped = false;  ///< there is a backslash in it
};

struct json_member {
    json_string key;
    std::size_t begin = 0;                       ///< offset of the key's opening quote
    std::size_t comma = std::string_view::npos;  ///< offset of the comma before it; npos: the first member
};

class json_cursor {
public:
    explicit json_cursor(std::string_view text) noexcept
        : begin_(text.data()), at_(text.data()), end_(text.data() + text.size())
    {
    }

    bool done() const noexcept { return at_ == end_; }
    char peek() const noexcept { return *at_; }
    std::size_t offset() const noexcept { return static_cast<std::size_t>(at_ - begin_); }
    std::string_view since(std::size_t from) const noexcept { return {begin_ + from, offset() - from}; }
    void skip_space() noexcept;
    void skip_byte() noexcept { ++at_; }

    /// Each returns false where the text can't be followed any further; the cursor then stands near the
    /// cause.
    bool read_string(json_string& out) noexcept;
    bool skip_value() noexcept;
    /// Walks the object that begins at the cursor. `on_member(const json_member&)` finds the cursor at the
    /// value's first byte, and must consume the value (or return false to stop).
    template <class OnMember>
    bool read_members(OnMember&& on_member);
    /// The same of an array and its elements. `on_element()` finds the cursor at the first byte after any
    /// space.
    template <class OnElement>
    bool read_elements(OnElement&& on_element);

    bool faulty() const noexcept { return faulty_; }
    std::uint64_t spaces() const noexcept { return spaces_; }          ///< whitespace between tokens
    std::uint64_t blobs() const noexcept { return blobs_; }            ///< long strings that are no text
    std::uint64_t blob_bytes() const noexcept { return blob_bytes_; }  ///< their bytes, quotes included

private:
    enum class step { key, end, fail };

    bool read_key(json_string& out) noexcept;
    bool read_scalar() noexcept;
    bool skip_container() noexcept;
    step first_key() noexcept;
    step next_key(std::size_t& comma) noexcept;

    const char* begin_;
    const char* at_;
    const char* end_;
    std::uint64_t spaces_ = 0;
    std::uint64_t blobs_ = 0;
    std::uint64_t blob_bytes_ = 0;
    bool faulty_ = false;
};

/// Appends the decoded string to `out` as valid UTF-8 (what is none becomes U+FFFD) while `out` stays within
/// `limit` bytes; false: it was cut, never within a character.
bool decode_json_string(std::string_view raw, std::size_t limit, std::string& out);

/// Whether the decoded key is `name` (ASCII).
bool json_key_is(const json_string& key, std::string_view name);

template <class OnMember>
bool json_cursor::read_members(OnMember&& on_member)
{
    json_member member;
    step next = first_key();
    while (next == step::key) {
        member.begin = offset();
        if (!read_key(member.key)) return false;
        skip_space();
        if (done() || !on_member(static_cast<const json_member&>(member))) return false;
        next = next_key(member.comma);
    }
    return next == step::end;
}

template <class OnElement>
bool json_cursor::read_elements(OnElement&& on_element)
{
    skip_byte();
    skip_space();
    if (!done() && peek() == ']') {
        skip_byte();
        return true;
    }
    while (true) {
        skip_space();
        if (done() || !on_element()) return false;
        skip_space();
        if (done()) return false;
        const char next = peek();
        skip_byte();
        if (next != ',') return next == ']';
    }
}

}  // namespace keyhole::metering
