#include "metering/eventstream.hpp"

#include <algorithm>
#include <optional>
#include <zlib.h>

namespace keyhole::metering {

namespace {

constexpr std::size_t prelude_size = 12;
constexpr std::size_t crc_size = 4;

std::uint32_t big_endian(std::string_view bytes, std::size_t at, std::size_t size) noexcept
{
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < size; ++i)
        value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
    return value;
}

std::uint32_t crc_of(std::string_view bytes, std::uint32_t before = 0) noexcept
{
    return static_cast<std::uint32_t>(
        crc32(before, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size())));
}

struct prelude {
    std::size_t total;
    std::size_t headers;
};

std::optional<prelude> read_prelude(std::string_view bytes) noexcept
{
    const prelude p{.total = big_endian(bytes, 0, 4), .headers = big_endian(bytes, 4, 4)};
    if (crc_of(bytes.substr(0, 8)) != big_endian(bytes, 8, 4)) return std::nullopt;
    if (p.total > eventstream_splitter::message_limit || p.headers > eventstream_splitter::head_limit ||
        p.total < prelude_size + p.headers + crc_size)
    {
        return std::nullopt;
    }
    return p;
}

/// Size of a header's value by its type; nullopt: the type is unknown. Strings and byte arrays carry a length
/// of their own.
std::optional<std::size_t> fixed_value_size(unsigned type) noexcept
{
    switch (type) {
    case 0:  // true
    case 1:
        return 0;
    case 2:
        return 1;
    case 3:
        return 2;
    case 4:
        return 4;
    case 5:  // 64-bit integer, timestamp
    case 8:
        return 8;
    case 9:
        return 16;
    default:
        return std::nullopt;
    }
}

eventstream_head read_headers(std::string_view bytes) noexcept
{
    eventstream_head head;
    while (!bytes.empty()) {
        const std::size_t name_size = static_cast<unsigned char>(bytes[0]);
        if (bytes.size() < 2 + name_size) break;
        const std::string_view name = bytes.substr(1, name_size);
        const unsigned type = static_cast<unsigned char>(bytes[1 + name_size]);
        bytes.remove_prefix(2 + name_size);
        std::size_t size = 0;
        if (type == 6 || type == 7) {
            if (bytes.size() < 2) break;
            size = big_endian(bytes, 0, 2);
            bytes.remove_prefix(2);
        } else if (const auto fixed = fixed_value_size(type)) {
            size = *fixed;
        } else {
            break;
        }
        if (bytes.size() < size) break;
        if (type == 7) {
            const std::string_view value = bytes.substr(0, size);
            if (name == ":message-type")
                head.message_type = value;
            else if (name == ":event-type")
                head.event_type = value;
            else if (name == ":exception-type" || name == ":error-code")
                head.error_type = value;
        }
        bytes.remove_prefix(size);
    }
    return head;
}

}  // namespace

void eventstream_splitter::feed(std::string_view bytes)
{
    while (!bytes.empty() && !lost_) {
        if (!take_message(bytes)) return;
    }
}

/// Takes one message, or what there is of it, off `bytes`; false: more is needed.
bool eventstream_splitter::take_message(std::string_view& bytes)
{
    if (rest_ != 0) {
        const std::size_t payload = rest_ > crc_size ? std::min(bytes.size(), rest_ - crc_size) : 0;
        if (payload != 0) {
            crc_ = crc_of(bytes.substr(0, payload), crc_);
            sink_.on_payload(bytes.substr(0, payload));
        } else {
            trailer_ += bytes.substr(0, std::min(bytes.size(), rest_));
        }
        const std::size_t taken = payload != 0 ? payload : std::min(bytes.size(), rest_);
        bytes.remove_prefix(taken);
        rest_ -= taken;
        if (rest_ != 0) return true;
        if (big_endian(trailer_, 0, 4) != crc_) damaged_ = true;
        sink_.on_message_end();
        return true;
    }

    // Whole messages are read where they stand; a message that the input cuts off is gathered first.
    const auto gather = [&](std::size_t wanted) {
        if (held_.size() >= wanted) return true;
        const std::size_t n = std::min(bytes.size(), wanted - held_.size());
        held_ += bytes.substr(0, n);
        bytes.remove_prefix(n);
        return held_.size() == wanted;
    };
    if (!held_.empty() || bytes.size() < prelude_size) {
        if (!gather(prelude_size)) return false;
    }
    const auto p = read_prelude(held_.empty() ? bytes : std::string_view{held_});
    if (!p) {
        damaged_ = lost_ = true;
        held_.clear();
        return false;
    }
    const bool large = p->total > whole_limit;
    const std::size_t wanted = large ? prelude_size + p->headers : p->total;
    if (held_.empty() && bytes.size() >= wanted) {
        const std::string_view message = bytes.substr(0, wanted);
        bytes.remove_prefix(wanted);
        if (large)
            begin_large(message);
        else
            deliver(message);
    } else {
        if (!gather(wanted)) return false;
        if (large)
            begin_large(held_);
        else
            deliver(held_);
        held_.clear();
    }
    if (large) rest_ = p->total - wanted;
    return true;
}

bool eventstream_splitter::deliver(std::string_view message)
{
    const std::size_t body = message.size() - crc_size;
    if (crc_of(message.substr(0, body)) != big_endian(message, body, 4)) {
        damaged_ = true;
        return false;
    }
    const std::size_t headers = big_endian(message, 4, 4);
    sink_.on_message_begin(read_headers(message.substr(prelude_size, headers)));
    sink_.on_payload(message.substr(prelude_size + headers, body - prelude_size - headers));
    sink_.on_message_end();
    return true;
}

void eventstream_splitter::begin_large(std::string_view head)
{
    crc_ = crc_of(head);
    trailer_.clear();
    sink_.on_message_begin(read_headers(head.substr(prelude_size)));
}

}  // namespace keyhole::metering
