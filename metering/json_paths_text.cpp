// Of json_paths.hpp: strings and keys that are read byte by byte, since they have escapes or came in pieces.
#include "metering/byte_scan.hpp"
#include "metering/json_paths.hpp"

#include <algorithm>
#include <cstring>

namespace keyhole::metering {

namespace {

int hex_value(char c) noexcept
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

}  // namespace

void json_reader::report_escaped(path_id id, std::string_view raw)
{
    at_ = tree_.at(id);
    begin_string(static_cast<std::uint8_t>(at_->interests & string_interests));
    const char* p = raw.data();
    if (string_bytes(p, p + raw.size() + 1)) end_text();
    at_ = root_;
}

void json_reader::end_text()
{
    json_scalar value;
    value.kind = json_scalar::type::string;
    value.text =
        direct_.data() != nullptr ? direct_.substr(0, max_text) : std::string_view{hold_.data(), held_};
    value.length = length_;
    sink_.on_scalar(at_->id, value);
}

void json_reader::begin_string(std::uint8_t mode) noexcept
{
    mode_ = mode;
    escape_ = 0;
    overlong_ = false;
    high_ = 0;
    length_ = 0;
    direct_ = {};
    held_ = 0;
}

bool json_reader::string_bytes(const char*& p, const char* end)
{
    while (p != end) {
        if (escape_ != 0) {
            escaped(*p++);
            if (state_ == state::failed) return false;
            continue;
        }
        const char* const q = find_either<'"', '\\'>(p, end);
        const bool closed = q != end && *q == '"';
        if (mode_ != 0 && (q != p || closed)) run(p, q, closed);
        if (q == end) {
            p = q;
            return false;
        }
        p = q + 1;
        if (closed) return true;
        escape_ = 1;
    }
    return false;
}

void json_reader::run(const char* begin, const char* end, bool closed)
{
    const std::string_view bytes{begin, static_cast<std::size_t>(end - begin)};
    if (high_ != 0 && !bytes.empty()) append_code_point(0xFFFD);
    const bool whole = closed && length_ == 0;
    length_ += bytes.size();
    if ((mode_ & bit(interest::pieces)) != 0 && !bytes.empty()) sink_.on_piece(at_->id, bytes);
    if ((mode_ & (key_mode | bit(interest::scalar))) == 0) return;
    if (whole)
        direct_ = bytes;
    else
        append(bytes);
}

void json_reader::append(std::string_view bytes)
{
    const std::size_t n = std::min(bytes.size(), max_text - held_);
    if (n != 0) std::memcpy(hold_.data() + held_, bytes.data(), n);
    held_ += n;
    if (n != bytes.size()) overlong_ = true;
}

void json_reader::append_code_point(std::uint32_t code)
{
    std::array<char, 4> utf8{};
    std::size_t n = 0;
    const auto put = [&](std::uint32_t byte) {
        utf8[n++] = static_cast<char>(static_cast<unsigned char>(byte));
    };
    if (code < 0x80)
        put(code);
    else if (code < 0x800) {
        put(0xC0 | code >> 6);
        put(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        put(0xE0 | code >> 12);
        put(0x80 | (code >> 6 & 0x3F));
        put(0x80 | (code & 0x3F));
    } else {
        put(0xF0 | code >> 18);
        put(0x80 | (code >> 12 & 0x3F));
        put(0x80 | (code >> 6 & 0x3F));
        put(0x80 | (code & 0x3F));
    }
    high_ = 0;
    length_ += n;
    if ((mode_ & bit(interest::pieces)) != 0) sink_.on_piece(at_->id, {utf8.data(), n});
    if ((mode_ & (key_mode | bit(interest::scalar))) != 0) append({utf8.data(), n});
}

void json_reader::escaped(char c)
{
    if (escape_ == 1) {
        if (c == 'u') {
            escape_ = 5;
            code_ = 0;
            return;
        }
        escape_ = 0;
        if (mode_ == 0) return;
        if (high_ != 0) append_code_point(0xFFFD);
        switch (c) {
        case 'b':
            append_code_point('\b');
            break;
        case 'f':
            append_code_point('\f');
            break;
        case 'n':
            append_code_point('\n');
            break;
        case 'r':
            append_code_point('\r');
            break;
        case 't':
            append_code_point('\t');
            break;
        default:
            append_code_point(static_cast<unsigned char>(c));
            break;
        }
        return;
    }
    const int digit = hex_value(c);
    if (digit < 0) {
        fail();
        return;
    }
    code_ = code_ << 4 | static_cast<std::uint32_t>(digit);
    if (--escape_ != 1) return;
    escape_ = 0;
    if (mode_ == 0) return;
    if (code_ >= 0xD800 && code_ < 0xDC00) {
        if (high_ != 0) append_code_point(0xFFFD);
        high_ = code_;
    } else if (code_ >= 0xDC00 && code_ < 0xE000) {
        append_code_point(high_ != 0 ? 0x10000 + ((high_ - 0xD800) << 10) + (code_ - 0xDC00) : 0xFFFD);
    } else {
        if (high_ != 0) append_code_point(0xFFFD);
        append_code_point(code_);
    }
}

}  // namespace keyhole::metering
