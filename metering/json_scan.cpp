#include "metering/json_scan.hpp"

#include "metering/byte_scan.hpp"
#include "metering/string_walk.hpp"

#include <algorithm>
#include <bitset>

namespace keyhole::metering {
namespace {

constexpr std::size_t deepest = 10'000;
constexpr std::size_t longest_text_without_space = 4096;

bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool is_scalar_char(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '+' ||
           c == '.';
}

int hex_value(char c)
{
    if (is_digit(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

// The four hex digits at the front, or -1.
int hex4(std::string_view text)
{
    if (text.size() < 4) return -1;
    int value = 0;
    for (const char c : text.substr(0, 4)) {
        const int digit = hex_value(c);
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

// RFC 8259's number, to the last byte.
bool is_number(std::string_view text)
{
    const auto digits = [&text] {
        const auto count = std::min(text.find_first_not_of("0123456789"), text.size());
        text.remove_prefix(count);
        return count;
    };
    if (text.starts_with('-')) text.remove_prefix(1);
    const bool zero = text.starts_with('0');
    const auto whole = digits();
    if (whole == 0 || (zero && whole > 1)) return false;
    if (text.starts_with('.')) {
        text.remove_prefix(1);
        if (digits() == 0) return false;
    }
    if (text.starts_with('e') || text.starts_with('E')) {
        text.remove_prefix(1);
        if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
        if (digits() == 0) return false;
    }
    return text.empty();
}

// Bytes of the well-formed UTF-8 sequence at the front (2 to 4); 0: there is none.
std::size_t utf8_length(std::string_view text)
{
    const auto byte = [&text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char lead = byte(0);
    const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return 0;
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xC0) != 0x80) return 0;
    }
    const unsigned char second = byte(1);
    const bool overlong = (lead == 0xE0 && second < 0xA0) || (lead == 0xF0 && second < 0x90);
    const bool surrogate = lead == 0xED && second > 0x9F;
    const bool beyond = lead == 0xF4 && second > 0x8F;
    return overlong || surrogate || beyond ? 0 : length;
}

struct small_text {
    char bytes[4];
    std::size_t size;
    std::string_view view() const { return {bytes, size}; }
};

small_text to_utf8(std::uint32_t code)
{
    const auto tail = [code](unsigned shift) { return static_cast<char>(0x80 | ((code >> shift) & 0x3F)); };
    if (code < 0x80) return {{static_cast<char>(code)}, 1};
    if (code < 0x800) return {{static_cast<char>(0xC0 | (code >> 6)), tail(0)}, 2};
    if (code < 0x10000) return {{static_cast<char>(0xE0 | (code >> 12)), tail(6), tail(0)}, 3};
    return {{static_cast<char>(0xF0 | (code >> 18)), tail(12), tail(6), tail(0)}, 4};
}

constexpr std::uint32_t replacement = 0xFFFD;

// The character at the front of a raw JSON string; takes its bytes.
small_text take_character(std::string_view& raw)
{
    const char first = raw.front();
    if (static_cast<unsigned char>(first) >= 0x80) {
        const auto length = utf8_length(raw);
        small_text out = to_utf8(replacement);
        if (length != 0) {
            out.size = length;
            std::copy_n(raw.data(), length, out.bytes);
        }
        raw.remove_prefix(std::max<std::size_t>(length, 1));
        return out;
    }
    raw.remove_prefix(1);
    if (first != '\\' || raw.empty()) return to_utf8(static_cast<unsigned char>(first));
    const char kind = raw.front();
    if (static_cast<unsigned char>(kind) >= 0x80) return to_utf8(replacement);
    raw.remove_prefix(1);
    switch (kind) {
    case 'b':
        return to_utf8('\b');
    case 'f':
        return to_utf8('\f');
    case 'n':
        return to_utf8('\n');
    case 'r':
        return to_utf8('\r');
    case 't':
        return to_utf8('\t');
    case 'u':
        break;
    default:
        return to_utf8(static_cast<unsigned char>(kind));
    }
    const int unit = hex4(raw);
    if (unit < 0) return to_utf8(replacement);
    raw.remove_prefix(4);
    if (unit < 0xD800 || unit > 0xDFFF) return to_utf8(static_cast<std::uint32_t>(unit));
    const int low = raw.starts_with("\\u") ? hex4(raw.substr(2)) : -1;
    if (unit > 0xDBFF || low < 0xDC00 || low > 0xDFFF) return to_utf8(replacement);
    raw.remove_prefix(6);
    return to_utf8(static_cast<std::uint32_t>(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00)));
}

}  // namespace

void json_cursor::skip_space() noexcept
{
    const char* const from = at_;
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t'))
        ++at_;
    spaces_ += static_cast<std::uint64_t>(at_ - from);
}

bool json_cursor::read_string(json_string& out) noexcept
{
    const char* const from = ++at_;
    // Keys and most values are short and plain.
    constexpr std::ptrdiff_t soon = 32;
    const char* const stop = find_string_stop(from, end_ - from > soon ? from + soon : end_);
    if (stop != end_ && *stop == '"') {
        out = {{from, static_cast<std::size_t>(stop - from)}, false};
        at_ = stop + 1;
        return true;
    }
    const walked_string walked = walk_string(from, end_);
    faulty_ = faulty_ || walked.faulty;
    if (walked.end == nullptr) {
        at_ = end_;
        return false;
    }
    out = {{from, static_cast<std::size_t>(walked.end - from)}, walked.escaped};
    at_ = walked.end + 1;
    if (!walked.text && out.raw.size() > longest_text_without_space) {
        ++blobs_;
        blob_bytes_ += out.raw.size() + 2;
    }
    return true;
}

bool json_cursor::read_key(json_string& out) noexcept
{
    if (done() || peek() != '"' || !read_string(out)) return false;
    skip_space();
    if (done() || peek() != ':') return false;
    ++at_;
    return true;
}

bool json_cursor::read_scalar() noexcept
{
    const auto from = offset();
    while (!done() && is_scalar_char(peek()))
        ++at_;
    const auto token = since(from);
    if (token.empty()) return false;
    if (token != "true" && token != "false" && token != "null" && !is_number(token)) faulty_ = true;
    return true;
}

bool json_cursor::skip_value() noexcept
{
    skip_space();
    if (done()) return false;
    json_string text;
    switch (peek()) {
    case '"':
        return read_string(text);
    case '{':
    case '[':
        return skip_container();
    default:
        return read_scalar();
    }
}

// Containers nest in a bit each instead of a call each: no input can exhaust the stack.
bool json_cursor::skip_container() noexcept
{
    std::bitset<deepest> objects;
    std::size_t depth = 0;
    json_string text;
    for (;;) {
        skip_space();
        if (done()) return false;
        const char c = peek();
        if (c == '{' || c == '[') {
            if (depth == deepest) return false;
            ++at_;
            objects[depth++] = c == '{';
            skip_space();
            if (done()) return false;
            const bool empty = peek() == (c == '{' ? '}' : ']');
            if (!empty) {
                if (c == '{' && !read_key(text)) return false;
                continue;
            }
        } else if (c == '"' ? !read_string(text) : !read_scalar()) {
            return false;
        }

        // A value has ended (or an empty container is about to): close what closes here, up to the next
        // value.
        for (;;) {
            if (depth == 0) return true;
            skip_space();
            if (done()) return false;
            const char closer = objects[depth - 1] ? '}' : ']';
            if (peek() == closer) {
                ++at_;
                --depth;
                continue;
            }
            if (peek() != ',') return false;
            ++at_;
            skip_space();
            if (done()) return false;
            if (peek() == closer) {
                faulty_ = true;
                continue;
            }
            if (closer == '}' && !read_key(text)) return false;
            break;
        }
    }
}

json_cursor::step json_cursor::first_key() noexcept
{
    if (done() || peek() != '{') return step::fail;
    ++at_;
    skip_space();
    if (done()) return step::fail;
    if (peek() != '}') return step::key;
    ++at_;
    return step::end;
}

json_cursor::step json_cursor::next_key(std::size_t& comma) noexcept
{
    skip_space();
    if (done()) return step::fail;
    if (peek() == ',') {
        comma = offset();
        ++at_;
        skip_space();
        if (done()) return step::fail;
        if (peek() != '}') return step::key;
        faulty_ = true;
    }
    if (peek() != '}') return step::fail;
    ++at_;
    return step::end;
}

bool decode_json_string(std::string_view raw, std::size_t limit, std::string& out)
{
    while (!raw.empty()) {
        // Mostly there is nothing to decode.
        const auto special = [](char c) { return c == '\\' || static_cast<unsigned char>(c) >= 0x80; };
        const auto plain = static_cast<std::size_t>(std::ranges::find_if(raw, special) - raw.begin());
        if (plain != 0) {
            const std::size_t room = limit - std::min(out.size(), limit);
            out.append(raw.substr(0, std::min(plain, room)));
            if (plain > room) return false;
            raw.remove_prefix(plain);
            continue;
        }
        const small_text character = take_character(raw);
        if (out.size() + character.size > limit) return false;
        out.append(character.view());
    }
    return true;
}

bool json_key_is(const json_string& key, std::string_view name)
{
    if (!key.escaped) return key.raw == name;
    if (key.raw.size() > name.size() * 6) return false;  // \u006d is the longest way to write a letter
    std::string decoded;
    return decode_json_string(key.raw, name.size(), decoded) && decoded == name;
}

}  // namespace keyhole::metering
