#include "bridge/conversation.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>

namespace keyhole::bridge {
namespace {

char lower(char c) noexcept
{
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

/// The value of a field of this (lower-case) name.
bool value_of_field(std::string_view line, std::string_view name, std::string_view& value) noexcept
{
    if (line.size() <= name.size() || line[name.size()] != ':') return false;
    for (std::size_t i = 0; i < name.size(); ++i)
        if (lower(line[i]) != name[i]) return false;
    value = line.substr(name.size() + 1);
    while (!value.empty() && (value.front() == ' ' || value.front() == '\t'))
        value.remove_prefix(1);
    while (!value.empty() && (value.back() == ' ' || value.back() == '\t'))
        value.remove_suffix(1);
    return true;
}

bool same_word(std::string_view a, std::string_view lower_case) noexcept
{
    return a.size() == lower_case.size() &&
           std::equal(a.begin(), a.end(), lower_case.begin(), [](char x, char y) { return lower(x) == y; });
}

}  // namespace

std::size_t message_follower::take(std::string_view bytes, bool bodiless, seen& out) noexcept
{
    std::size_t used = 0;
    while (used < bytes.size() && !out.ended) {
        const std::string_view rest = bytes.substr(used);
        switch (at_) {
        case place::lost:
        case place::to_the_end:
            return bytes.size();
        case place::body:
        case place::chunk: {
            const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(left_, rest.size()));
            left_ -= n;
            used += n;
            if (left_ != 0) break;
            if (at_ == place::chunk)
                at_ = place::chunk_end;
            else
                end_message(out);
            break;
        }
        case place::start:
        case place::fields:
        case place::chunk_size:
        case place::chunk_end:
        case place::trailer: {
            if (at_ == place::start && line_size_ == 0) {
                // Empty lines before a request are allowed, and no request.
                if (!answers_ && (rest[0] == '\r' || rest[0] == '\n')) {
                    ++used;
                    break;
                }
                out.began = true;
            }
            const std::size_t end = std::min(rest.find('\n'), rest.size());
            const std::size_t kept = std::min(end, most_line - line_size_);
            std::memcpy(line_ + line_size_, rest.data(), kept);
            line_size_ = static_cast<std::uint8_t>(line_size_ + kept);
            constexpr std::string_view version = "HTTP/1.";
            if (answers_ && at_ == place::start &&
                line().substr(0, version.size()) != version.substr(0, line_size_))
            {
                at_ = place::lost;
                return bytes.size();
            }
            // A line end is no part of what is kept.
            if (kept != end && !(kept + 1 == end && rest[kept] == '\r')) cut_ = true;
            if (end == rest.size()) return bytes.size();
            used += end + 1;
            if (line_size_ != 0 && line_[line_size_ - 1] == '\r') --line_size_;
            end_line(bodiless, out);
            line_size_ = 0;
            cut_ = false;
        }
        }
    }
    return used;
}

void message_follower::end_line(bool bodiless, seen& out) noexcept
{
    switch (at_) {
    case place::start:
        return end_start_line();
    case place::fields:
        return line_size_ == 0 ? end_head(bodiless, out) : end_field();
    case place::chunk_size:
        return end_chunk_size();
    case place::chunk_end:
        at_ = line_size_ == 0 ? place::chunk_size : place::lost;
        return;
    case place::trailer:
        if (line_size_ == 0) end_message(out);
        return;
    default:
        return;
    }
}

void message_follower::end_start_line() noexcept
{
    at_ = place::fields;
    has_length_ = chunked_ = false;
    closes_ = line().starts_with("HTTP/1.0");
    left_ = 0;
    status_ = 0;
    head_request_ = line().starts_with("HEAD ");
    if (!answers_) {
        if (line().starts_with("CONNECT ")) at_ = place::lost;
        return;
    }
    const std::string_view text = line();
    if (text.size() < 12 || text[8] != ' ' ||
        std::from_chars(text.data() + 9, text.data() + 12, status_).ptr != text.data() + 12)
        at_ = place::lost;
}

void message_follower::end_field() noexcept
{
    std::string_view value;
    if (value_of_field(line(), "content-length", value)) {
        std::uint64_t number = 0;
        const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
        const bool wrong =
            cut_ || value.empty() || error != std::errc() || end != value.data() + value.size();
        if (wrong || (has_length_ && number != left_)) at_ = place::lost;
        has_length_ = true;
        left_ = number;
    } else if (value_of_field(line(), "connection", value)) {
        if (cut_ || !same_word(value, "keep-alive")) closes_ = true;
    } else if (value_of_field(line(), "transfer-encoding", value)) {
        chunked_ = true;
        if (cut_ || !same_word(value, "chunked")) at_ = place::lost;
    }
}

void message_follower::end_head(bool bodiless, seen& out) noexcept
{
    const bool empty = answers_ && (bodiless || status_ < 200 || status_ == 204 || status_ == 304);
    if (status_ == 101 || (chunked_ && has_length_))
        at_ = place::lost;  // another protocol from here on; two lengths
    else if (!empty && chunked_)
        at_ = place::chunk_size;
    else if (!empty && has_length_ && left_ != 0)
        at_ = place::body;
    else if (!empty && answers_ && !has_length_)
        at_ = place::to_the_end;
    else
        end_message(out);
}

void message_follower::end_chunk_size() noexcept
{
    std::uint64_t size = 0;
    const char* const last = line_ + line_size_;
    const auto [end, error] = std::from_chars(line_, last, size, 16);
    const bool wrong = error != std::errc() || (end != last && *end != ';' && *end != ' ' && *end != '\t');
    if (wrong) {
        at_ = place::lost;
        return;
    }
    left_ = size;
    at_ = size == 0 ? place::trailer : place::chunk;
}

void message_follower::end_message(seen& out) noexcept
{
    out.ended = true;
    out.final = !answers_ || status_ >= 200;
    out.is_head_request = head_request_;
    at_ = place::start;
}

void conversation::asked(std::string_view bytes) noexcept
{
    while (!bytes.empty() && !requests_.is_lost()) {
        message_follower::seen got;
        const std::size_t used = requests_.take(bytes, false, got);
        bytes.remove_prefix(used);
        if (got.began) ++asked_;
        if (!got.ended) continue;
        const std::uint64_t bit = std::uint64_t{1} << (known_ % most_pipelined);
        head_requests_ = got.is_head_request ? head_requests_ | bit : head_requests_ & ~bit;
        ++known_;
        if (known_ - answered_ >= most_pipelined) requests_.lose();
    }
}

void conversation::answered(std::string_view bytes) noexcept
{
    while (!bytes.empty() && !answers_.is_lost()) {
        const std::uint64_t bit = std::uint64_t{1} << (answered_ % most_pipelined);
        // An answer that comes before its request is whole is not to a HEAD, which has no body to wait for.
        const bool to_head = answered_ < known_ && (head_requests_ & bit) != 0;
        message_follower::seen got;
        const std::size_t used = answers_.take(bytes, to_head, got);
        bytes.remove_prefix(used);
        if (got.ended && got.final) ++answered_;
    }
    // An answer that nobody asked for: whose the next one is cannot be known.
    if (answered_ > asked_) answers_.lose();
}

conversation::state conversation::now() const noexcept
{
    if (answers_.is_lost()) return state::unclear;
    if (!answers_.between_messages()) return state::answering;
    if (answers_.closes_after()) return state::ended;
    if (asked_ > answered_) return state::unanswered;
    if (requests_.is_lost()) return state::unclear;
    return requests_.between_messages() ? state::idle : state::ended;
}

}  // namespace keyhole::bridge
