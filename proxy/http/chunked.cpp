#include "proxy/http/chunked.hpp"

#include <algorithm>
#include <cstring>

namespace keyhole::proxy::http {
namespace {

constexpr std::uint32_t max_overhead = 16 * 1024;  // extensions and trailers of one body, together

int hex_digit(char c) noexcept
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

}  // namespace

chunk_decoder::step chunk_decoder::feed(char* data, std::size_t size) noexcept
{
    step out;
    std::size_t at = 0;
    const auto fail = [&] { state_ = state::failed; };
    while (at < size && state_ != state::done && state_ != state::failed) {
        const char c = data[at];
        switch (state_) {
        case state::size_first:
        case state::size: {
            if (const int digit = hex_digit(c); digit >= 0) {
                if (++digits_ > 15) {
                    fail();
                    break;
                }
                left_ = left_ * 16 + static_cast<std::uint64_t>(digit);
                state_ = state::size;
                ++at;
            } else if (state_ != state::size_first && c == '\r') {
                state_ = state::size_lf;
                ++at;
            } else if (state_ != state::size_first && (c == ';' || c == ' ' || c == '\t')) {
                state_ = state::extension;
                ++at;
            } else
                fail();
            break;
        }
        case state::extension:
            if (c == '\n' || ++overhead_ > max_overhead) {
                fail();
                break;
            }
            if (c == '\r') state_ = state::size_lf;
            ++at;
            break;
        case state::size_lf:
            if (c != '\n') {
                fail();
                break;
            }
            ++at;
            digits_ = 0;
            state_ = left_ == 0 ? state::trailer_first : state::data;
            break;
        case state::data: {
            const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(left_, size - at));
            if (out.payload_size == 0)
                out.payload_begin = at;
            else
                std::memmove(data + out.payload_begin + out.payload_size, data + at, n);
            out.payload_size += n;
            left_ -= n;
            at += n;
            if (left_ == 0) state_ = state::data_cr;
            break;
        }
        case state::data_cr:
            if (c != '\r') {
                fail();
                break;
            }
            state_ = state::data_lf;
            ++at;
            break;
        case state::data_lf:
            if (c != '\n') {
                fail();
                break;
            }
            state_ = state::size_first;
            ++at;
            break;
        case state::trailer_first:
            if (c == '\r') {
                state_ = state::end_lf;
                ++at;
                break;
            }
            state_ = state::trailer;
            break;
        case state::trailer:
            if (c == '\n' || ++overhead_ > max_overhead) {
                fail();
                break;
            }
            if (c == '\r') state_ = state::trailer_lf;
            ++at;
            break;
        case state::trailer_lf:
            if (c != '\n') {
                fail();
                break;
            }
            state_ = state::trailer_first;
            ++at;
            break;
        case state::end_lf:
            if (c != '\n') {
                fail();
                break;
            }
            state_ = state::done;
            ++at;
            break;
        case state::done:
        case state::failed:
            break;
        }
    }
    out.consumed = at;
    return out;
}

std::size_t write_size_line_before(char* payload, std::size_t size) noexcept
{
    char* p = payload;
    *--p = '\n';
    *--p = '\r';
    do {
        *--p = "0123456789abcdef"[size & 15U];
        size >>= 4U;
    } while (size != 0);
    return static_cast<std::size_t>(payload - p);
}

}  // namespace keyhole::proxy::http
