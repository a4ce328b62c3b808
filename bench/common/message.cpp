#include "bench/common/message.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <strings.h>

namespace keyhole::bench {
namespace {

constexpr std::size_t head_limit = 64 * 1024;

bool is(std::string_view a, std::string_view b) noexcept
{
    return a.size() == b.size() && ::strncasecmp(a.data(), b.data(), a.size()) == 0;
}

bool ends_with_chunked(std::string_view value) noexcept
{
    return value.size() >= 7 && is(value.substr(value.size() - 7), "chunked");
}

std::string_view trimmed(std::string_view text) noexcept
{
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t'))
        text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t'))
        text.remove_suffix(1);
    return text;
}

void read_field(std::string_view name, std::string_view value, message_head& head)
{
    if (is(name, "content-length")) {
        std::int64_t length = -1;
        const auto [end, ec] = std::from_chars(value.data(), value.data() + value.size(), length);
        head.length = ec == std::errc{} && end == value.data() + value.size() ? length : -2;
    } else if (is(name, "transfer-encoding")) {
        head.chunked = ends_with_chunked(value);
    } else if (is(name, "connection")) {
        head.close = is(value, "close");
    } else if (is(name, "authorization")) {
        head.credential = value.substr(value.starts_with("Bearer ") ? 7 : 0);
    } else if (is(name, "x-api-key") || is(name, "api-key")) {
        head.credential = value;
    } else if (is(name, "x-bench-script")) {
        head.script = value;
    }
}

/// `text`: the head without its empty line.
message_head parse(std::string_view text)
{
    message_head head;
    bool first = true;
    while (!text.empty()) {
        const auto end = std::min(text.find("\r\n"), text.size());
        const auto line = text.substr(0, end);
        text.remove_prefix(std::min(end + 2, text.size()));
        if (first) {
            head.first_line = line;
            first = false;
            continue;
        }
        const auto colon = line.find(':');
        if (colon != std::string_view::npos)
            read_field(line.substr(0, colon), trimmed(line.substr(colon + 1)), head);
    }
    return head;
}

}  // namespace

message_reader::state message_reader::feed(std::string_view bytes, message_sink& sink)
{
    while (!bytes.empty() && state_ != state::broken) {
        switch (state_) {
        case state::head:
            bytes = take_head(bytes, sink);
            break;
        case state::length:
        case state::chunk: {
            const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size()));
            left_ -= n;
            if (left_ == 0) state_ = state_ == state::length ? state::done : state::chunk_end;
            sink.on_body(bytes.substr(0, n));
            bytes.remove_prefix(n);
            break;
        }
        case state::chunk_size:
        case state::chunk_end:
        case state::trailer:
            bytes = take_line(bytes, sink);
            break;
        case state::done:
            state_ = state::broken;
            break;
        case state::broken:
            break;
        }
    }
    return state_;
}

void message_reader::next() noexcept
{
    state_ = state::head;
    line_.clear();
    left_ = 0;
}

std::string_view message_reader::take_head(std::string_view bytes, message_sink& sink)
{
    if (line_.empty()) {
        const auto end = bytes.find("\r\n\r\n");
        if (end != std::string_view::npos) {
            const auto head = parse(bytes.substr(0, end));
            begin(head);
            sink.on_head(head);
            return bytes.substr(end + 4);
        }
    }
    const auto before = line_.size();
    line_.append(bytes);
    const auto end = line_.find("\r\n\r\n", before < 3 ? 0 : before - 3);
    if (end == std::string::npos) {
        if (line_.size() > head_limit) state_ = state::broken;
        return {};
    }
    const auto head = parse(std::string_view{line_}.substr(0, end));
    begin(head);
    sink.on_head(head);
    line_.clear();
    return bytes.substr(end + 4 - before);
}

void message_reader::begin(const message_head& head)
{
    // An answer of unknown length ends with its connection; none of the programs measured here sends one.
    if (head.length == -2 || (head.length == -1 && !head.chunked && kind_ == kind::response)) {
        state_ = state::broken;
    } else if (head.chunked) {
        state_ = state::chunk_size;
    } else {
        left_ = static_cast<std::uint64_t>(std::max<std::int64_t>(head.length, 0));
        state_ = left_ == 0 ? state::done : state::length;
    }
}

std::string_view message_reader::take_line(std::string_view bytes, message_sink& sink)
{
    static_cast<void>(sink);
    const auto end = bytes.find('\n');
    if (end == std::string_view::npos) {
        line_.append(bytes);
        if (line_.size() > head_limit) state_ = state::broken;
        return {};
    }
    if (line_.empty()) {
        end_line(bytes.substr(0, end));
    } else {
        line_.append(bytes.substr(0, end));
        end_line(line_);
        line_.clear();
    }
    return bytes.substr(end + 1);
}

void message_reader::end_line(std::string_view line)
{
    if (line.empty() || line.back() != '\r') {
        state_ = state::broken;
        return;
    }
    line.remove_suffix(1);
    if (state_ == state::chunk_end) {
        state_ = line.empty() ? state::chunk_size : state::broken;
    } else if (state_ == state::trailer) {
        if (line.empty()) state_ = state::done;
    } else {
        const auto [end, ec] = std::from_chars(line.data(), line.data() + line.size(), left_, 16);
        const bool whole =
            ec == std::errc{} && (end == line.data() + line.size() || *end == ';' || *end == ' ');
        if (!whole)
            state_ = state::broken;
        else
            state_ = left_ == 0 ? state::trailer : state::chunk;
    }
}

std::int64_t number_after(std::string_view text, std::string_view name) noexcept
{
    const void* const at = ::memmem(text.data(), text.size(), name.data(), name.size());
    if (at == nullptr) return -1;
    const char* p = static_cast<const char*>(at) + name.size();
    const char* const end = text.data() + text.size();
    while (p != end && *p == ' ')
        ++p;
    std::int64_t number = -1;
    return std::from_chars(p, end, number).ec == std::errc{} ? number : -1;
}

}  // namespace keyhole::bench
