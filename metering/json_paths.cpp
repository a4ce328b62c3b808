#include "metering/json_paths.hpp"

#include "metering/byte_scan.hpp"

#include <algorithm>

namespace keyhole::metering {

namespace {

bool is_space(char c) noexcept
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

bool ends_word(char c) noexcept
{
    return c == ',' || c == '}' || c == ']' || is_space(c);
}

bool is_number_char(char c) noexcept
{
    return (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.' || c == 'e' || c == 'E';
}

}  // namespace

json_reader::json_reader(const path_tree& tree, json_sink& sink)
    : tree_{tree}, root_{tree.root()}, sink_{sink}
{
    reset();
}

void json_reader::reset() noexcept
{
    depth_ = 0;
    at_ = root_;
    state_ = state::value;
    skip_depth_ = 0;
    begin_string(0);
}

bool json_reader::wants(interest what) const noexcept
{
    return at_ != nullptr && (at_->interests & bit(what)) != 0;
}

void json_reader::feed(std::string_view bytes)
{
    const char* p = bytes.data();
    const char* const end = p + bytes.size();
    while (p != end) {
        switch (state_) {
        case state::value:
        case state::first_value:
            p = begin_value(p, end);
            break;
        case state::first_key:
        case state::key: {
            const char c = *p++;
            if (c == '"') {
                p = begin_key(p, end);
            } else if (c == '}' && state_ == state::first_key)
                close(true);
            else if (!is_space(c))
                fail();
            break;
        }
        case state::in_key:
            p = read_key(p, end);
            break;
        case state::colon: {
            const char c = *p++;
            if (c == ':')
                state_ = state::value;
            else if (!is_space(c))
                fail();
            break;
        }
        case state::in_string:
            p = read_string(p, end);
            break;
        case state::in_word:
            p = read_word(p, end);
            break;
        case state::after_value: {
            const char c = *p++;
            const bool object = frames_[depth_ - 1].object;
            if (c == ',') {
                state_ = object ? state::key : state::value;
                if (!object) at_ = depth_ == 1 ? root_ : frames_[depth_ - 1].node->element.get();
            } else if (c == '}' || c == ']')
                close(c == '}');
            else if (!is_space(c))
                fail();
            break;
        }
        case state::skipping:
        case state::skipping_string:
            p = skip(p, end);
            break;
        case state::failed:
            return;
        }
    }
}

void json_reader::finish()
{
    if (state_ == state::in_word) end_word();
}

const char* json_reader::begin_value(const char* p, const char* end)
{
    const char c = *p++;
    if (c == '"') {
        const unsigned mode = at_ != nullptr ? at_->interests & string_interests : 0U;
        return begin_text(p, end, static_cast<std::uint8_t>(mode));
    }
    if (c == '{' || c == '[') {
        open(c == '{');
        return p;
    }
    if (is_space(c)) return p;
    if (c == ']' && state_ == state::first_value) {
        close(false);
        return p;
    }
    if (depth_ == 0 && (c == '\xEF' || c == '\xBB' || c == '\xBF')) return p;  // a byte order mark
    if (c == '-' || (c >= '0' && c <= '9') || c == 't' || c == 'f' || c == 'n') return begin_word(p - 1, end);
    fail();
    return p;
}

void json_reader::open(bool object)
{
    // An array at the top: its elements are the documents.
    const bool list = depth_ == 0 && !object;
    const bool followed =
        list ||
        (at_ != nullptr && (object ? at_ == root_ || !at_->members.empty() : at_->element != nullptr));
    const bool reported = !list && wants(interest::object);
    if ((!followed && !reported) || depth_ == max_frames) {
        skip_depth_ = 1;
        state_ = state::skipping;
        return;
    }
    if (reported) sink_.on_begin(at_->id);
    frames_[depth_++] = {.node = at_, .object = object};
    if (object) {
        state_ = state::first_key;
    } else {
        at_ = list ? root_ : at_->element.get();
        state_ = state::first_value;
    }
}

void json_reader::close(bool object)
{
    const frame closed = frames_[depth_ - 1];
    if (closed.object != object) {
        fail();
        return;
    }
    --depth_;
    const bool list = depth_ == 0 && !object;
    if (!list && closed.node != nullptr && (closed.node->interests & bit(interest::object)) != 0) {
        sink_.on_end(closed.node->id);
    }
    if (list) {
        at_ = root_;
        state_ = state::value;
        sink_.on_value_end();
        return;
    }
    at_ = closed.node;
    ended_value();
}

void json_reader::ended_value()
{
    if (depth_ == 0) {
        at_ = root_;
        state_ = state::value;
        sink_.on_document_end(false);
        sink_.on_value_end();
        return;
    }
    state_ = state::after_value;
    if (depth_ == 1 && !frames_[0].object) sink_.on_document_end(true);
}

/// Nearly every key and text stands whole and unescaped in the input: read there, nothing is set up.
const char* json_reader::begin_key(const char* p, const char* end)
{
    const char* const q = find_either<'"', '\\'>(p, end);
    if (q != end && *q == '"') {
        at_ = frames_[depth_ - 1].node->member({p, static_cast<std::size_t>(q - p)});
        return after_key(q + 1, end);
    }
    begin_string(key_mode);
    state_ = state::in_key;
    return read_key(p, end);
}

const char* json_reader::after_key(const char* p, const char* end) noexcept
{
    state_ = state::colon;
    if (p != end && *p == ':') {
        ++p;
        state_ = state::value;
    }
    return p;
}

const char* json_reader::begin_text(const char* p, const char* end, std::uint8_t mode)
{
    const char* const q = find_either<'"', '\\'>(p, end);
    if (q != end && *q == '"') {
        if (mode != 0) {
            report_text(sink_, at_->id, {p, static_cast<std::size_t>(q - p)},
                        (mode & bit(interest::pieces)) != 0);
        }
        ended_value();
        return q + 1;
    }
    begin_string(mode);
    state_ = state::in_string;
    return read_string(p, end);
}

const char* json_reader::read_key(const char* p, const char* end)
{
    if (!string_bytes(p, end)) return p;
    const std::string_view key = direct_.data() != nullptr ? direct_ : std::string_view{hold_.data(), held_};
    at_ = overlong_ ? nullptr : frames_[depth_ - 1].node->member(key);
    return after_key(p, end);
}

const char* json_reader::read_string(const char* p, const char* end)
{
    if (!string_bytes(p, end)) return p;
    if (mode_ != 0) end_text();
    ended_value();
    return p;
}

const char* json_reader::begin_word(const char* p, const char* end)
{
    const char* q = p;
    while (q != end && !ends_word(*q))
        ++q;
    const auto size = static_cast<std::size_t>(q - p);
    if (q != end && size <= max_text) {
        if (wants(interest::scalar))
            report_word({p, size});
        else
            ended_value();
        return q;
    }
    begin_string(0);
    state_ = state::in_word;
    return read_word(p, end);
}

const char* json_reader::read_word(const char* p, const char* end)
{
    const char* q = p;
    while (q != end && !ends_word(*q))
        ++q;
    if (wants(interest::scalar)) append({p, static_cast<std::size_t>(q - p)});
    if (q != end) end_word();
    return q;
}

void json_reader::end_word()
{
    if (wants(interest::scalar) && !overlong_)
        report_word({hold_.data(), held_});
    else
        ended_value();
}

void json_reader::report_word(std::string_view word)
{
    json_scalar value;
    value.text = word;
    if (is_number_char(word.front()) && std::ranges::all_of(word, is_number_char)) {
        value.kind = json_scalar::type::number;
    } else if (word == "null") {
        value.kind = json_scalar::type::null;
    } else if (word == "true" || word == "false") {
        value.kind = json_scalar::type::boolean;
        value.truth = word == "true";
    } else {
        fail();
        return;
    }
    sink_.on_scalar(at_->id, value);
    ended_value();
}

const char* json_reader::skip(const char* p, const char* end)
{
    if (state_ == state::skipping_string) {
        if (!string_bytes(p, end)) return p;
        state_ = state::skipping;
    }
    while (p != end) {
        p = find_structure(p, end);
        if (p == end) return p;
        const char c = *p++;
        if (c == '"') {
            begin_string(0);
            if (!string_bytes(p, end)) {
                if (state_ != state::failed) state_ = state::skipping_string;
                return p;
            }
        } else if (c == '{' || c == '[') {
            ++skip_depth_;
        } else if (--skip_depth_ == 0) {
            ended_value();
            return p;
        }
    }
    return p;
}

}  // namespace keyhole::metering
