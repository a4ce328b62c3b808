#include "metering/json_paths.hpp"

#include "metering/byte_scan.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace keyhole::metering {

namespace {

/// Tells most keys apart by four loads; equal marks are compared in full.
std::uint32_t mark_of(std::string_view key) noexcept
{
    if (key.empty()) return 0;
    const auto byte = [&](std::size_t i) { return std::uint32_t{static_cast<unsigned char>(key[i])}; };
    return static_cast<std::uint32_t>(key.size() & 0xff) | byte(0) << 8 | byte(key.size() / 2) << 16 |
           byte(key.size() - 1) << 24;
}

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

int hex_value(char c) noexcept
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

constexpr std::uint8_t bit(interest what) noexcept
{
    return static_cast<std::uint8_t>(what);
}

/// A key: kept whole, compared, dropped. Not an interest of a path.
constexpr std::uint8_t key_mode = 128;

constexpr std::uint8_t string_interests =
    bit(interest::scalar) | bit(interest::measure) | bit(interest::pieces);

}  // namespace

struct path_tree::node {
    static std::uint64_t bit_of(std::uint32_t mark) noexcept
    {
        return std::uint64_t{1} << ((mark * 0x9E3779B1U) >> 26U);
    }

    path_id id = no_path;
    std::uint8_t interests = 0;
    std::vector<std::uint32_t> marks;
    std::uint64_t known = 0;  ///< a bit for each mark: most keys of an answer are nobody's
    std::vector<std::pair<std::string, std::unique_ptr<node>>> members;
    std::unique_ptr<node> element;

    const node* member(std::string_view key) const noexcept
    {
        const std::uint32_t mark = mark_of(key);
        if ((known & bit_of(mark)) == 0) return nullptr;
        for (std::size_t i = 0; i < marks.size(); ++i) {
            if (marks[i] == mark && members[i].first == key) return members[i].second.get();
        }
        return nullptr;
    }
    node& make_member(std::string_view key)
    {
        for (auto& [name, child] : members) {
            if (name == key) return *child;
        }
        marks.push_back(mark_of(key));
        known |= bit_of(marks.back());
        members.emplace_back(std::string{key}, std::make_unique<node>());
        return *members.back().second;
    }
};

path_tree::path_tree() : root_{std::make_unique<node>()} {}
path_tree::~path_tree() = default;
path_tree::path_tree(path_tree&&) noexcept = default;
path_tree& path_tree::operator=(path_tree&&) noexcept = default;

path_id path_tree::add(std::string_view path, interest what)
{
    node* at = root_.get();
    while (!path.empty()) {
        if (path.starts_with("[]")) {
            if (!at->element) at->element = std::make_unique<node>();
            at = at->element.get();
            path.remove_prefix(2);
        } else {
            if (path.front() == '.') path.remove_prefix(1);
            const std::size_t n = std::min(path.find_first_of(".["), path.size());
            at = &at->make_member(path.substr(0, n));
            path.remove_prefix(n);
        }
    }
    at->interests |= bit(what);
    if (at->id == no_path) {
        at->id = static_cast<path_id>(declared_.size());
        declared_.push_back(at);
        steadiness_.push_back(steadiness::none);
    }
    return at->id;
}

json_reader::json_reader(const path_tree& tree, json_sink& sink)
    : tree_{tree}, root_{tree.root_.get()}, sink_{sink}
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

void json_reader::report_escaped(path_id id, std::string_view raw)
{
    at_ = tree_.declared_[id];
    begin_string(static_cast<std::uint8_t>(at_->interests & string_interests));
    const char* p = raw.data();
    if (string_bytes(p, p + raw.size() + 1)) end_text();
    at_ = root_;
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

void json_reader::end_text()
{
    json_scalar value;
    value.kind = json_scalar::type::string;
    value.text =
        direct_.data() != nullptr ? direct_.substr(0, max_text) : std::string_view{hold_.data(), held_};
    value.length = length_;
    sink_.on_scalar(at_->id, value);
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
