#include "metering/event_skeleton.hpp"

#include "metering/byte_scan.hpp"
#include "metering/string_walk.hpp"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstring>
#include <iterator>

namespace keyhole::metering {

namespace {

constexpr std::size_t longest_number = 32;

bool is_space(char c) noexcept
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/// The closing quote of the string that p stands in; nullptr: none in sight, or something that a reader of
/// the whole had better judge.
const char* string_end(const char* p, const char* end, bool& escaped) noexcept
{
    constexpr std::ptrdiff_t soon = 32;  // most strings are short and plain
    const char* const stop = find_string_stop(p, end - p > soon ? p + soon : end);
    escaped = false;
    if (stop != end && *stop == '"') return stop;
    const walked_string walked = walk_string(p, end);
    escaped = walked.escaped;
    return walked.faulty ? nullptr : walked.end;
}

bool is_digit(char c) noexcept
{
    return c >= '0' && c <= '9';
}

/// The end of the number at p; nullptr: there is none, or no JSON one.
const char* number_end(const char* p, const char* end) noexcept
{
    const char* const from = p;
    const auto digits = [&] {
        const char* const first = p;
        while (p != end && is_digit(*p))
            ++p;
        return p - first;
    };
    const auto skip = [&](char a, char b) {
        const bool there = p != end && (*p == a || *p == b);
        p += there ? 1 : 0;
        return there;
    };
    skip('-', '-');
    const bool zero = p != end && *p == '0';
    const auto whole = digits();
    if (whole == 0 || (zero && whole > 1)) return nullptr;
    if (skip('.', '.') && digits() == 0) return nullptr;
    if (skip('e', 'E')) {
        skip('-', '+');
        if (digits() == 0) return nullptr;
    }
    return static_cast<std::size_t>(p - from) <= longest_number ? p : nullptr;
}

/// The event's JSON, if that is all it says: one data line, besides it only a name that means nothing.
/// Empty: it is not.
std::string_view data_of(std::string_view event) noexcept
{
    std::string_view data;
    while (!event.empty()) {
        const std::size_t n = event.find('\n');
        if (n == event.npos) return {};
        std::string_view line = event.substr(0, n);
        event.remove_prefix(n + 1);
        if (line.ends_with('\r')) line.remove_suffix(1);
        if (line.find('\r') != line.npos) return {};
        if (line.empty()) return event.empty() ? data : std::string_view{};
        const bool is_data = line.starts_with("data:");
        if (!is_data && !line.starts_with("event:")) return {};
        line.remove_prefix(line.find(':') + 1);
        if (line.starts_with(' ')) line.remove_prefix(1);
        if (is_data ? !data.empty() || !line.starts_with('{') : line == "error") return {};
        if (is_data) data = line;
    }
    return {};
}

bool is_json(std::string_view text) noexcept
{
    json_cursor cursor{text};
    if (!cursor.skip_value()) return false;
    cursor.skip_space();
    return cursor.done() && !cursor.faulty();
}

}  // namespace

/// Notes what a reader reports of a document whose values are their own numbers.
class event_skeleton::recorder final : public json_sink {
public:
    recorder(event_skeleton& form, const path_tree& tree) : form_{form}, tree_{tree} {}

    void on_begin(path_id id) override { note({.what = report_kind::begin, .id = id}); }
    void on_end(path_id id) override { note({.what = report_kind::end, .id = id}); }
    void on_document_end(bool array_element) override
    {
        note({.what = report_kind::document_end, .truth = array_element});
    }
    void on_value_end() override { note({.what = report_kind::value_end}); }
    void on_scalar(path_id id, const json_scalar& v) override
    {
        using type = json_scalar::type;
        if (v.kind == type::string || v.kind == type::number) {
            const std::uint8_t n = number_of(v.text);
            note({.what = v.kind == type::string ? report_kind::text : report_kind::number,
                  .value = n,
                  .pieces = form_.values_[n].open,
                  .steady = tree_.steady(id),
                  .id = id});
        } else {
            note({.what = report_kind::word, .word = v.kind, .truth = v.truth, .id = id});
        }
    }
    void on_piece(path_id, std::string_view piece) override { form_.values_[number_of(piece)].open = true; }

private:
    void note(const reported& r) { form_.reports_.push_back(r); }
    static std::uint8_t number_of(std::string_view text) noexcept
    {
        std::uint8_t n = 0;
        std::from_chars(text.data(), text.data() + text.size(), n);
        return n;
    }

    event_skeleton& form_;
    const path_tree& tree_;
};

/// Takes a well-formed event apart.
class event_skeleton::builder {
public:
    bool take(std::string_view event, std::string_view data, const path_tree& tree)
    {
        const auto before = static_cast<std::size_t>(data.data() - event.data());
        form_.text_ = event.substr(0, before);
        if (!take_values(data)) return false;
        form_.text_ += event.substr(before + data.size());

        recorder notes{form_, tree};
        json_reader reader{tree, notes};
        reader.feed(numbered_);
        if (!reader.idle()) return false;
        open_texts();
        form_.lay_out();
        return true;
    }
    event_skeleton& form() noexcept { return form_; }

private:
    bool take_values(std::string_view data)
    {
        const char* p = data.data();
        const char* const end = p + data.size();
        while (p != end) {
            const char* from = p;
            if (*p == '"') {
                value v;
                const char* const q = string_end(++from, end, v.escaped);
                if (q == nullptr) return false;
                const std::string_view text{from, static_cast<std::size_t>(q - from)};
                p = q + 1;
                const char* next = p;
                while (next != end && is_space(*next))
                    ++next;
                const bool key = next != end && *next == ':';
                fixed("\"");
                if (key)
                    fixed(text);
                else if (!add(v, text))
                    return false;
                fixed("\"");
            } else if (*p == '-' || is_digit(*p)) {
                p = number_end(p, end);
                value v;
                v.number = true;
                if (p == nullptr || !add(v, {from, static_cast<std::size_t>(p - from)})) return false;
            } else {
                // The letters of true, false and null, too.
                fixed({p++, 1});
            }
        }
        return true;
    }

    void fixed(std::string_view bytes)
    {
        form_.text_ += bytes;
        numbered_ += bytes;
    }

    bool add(value v, std::string_view bytes)
    {
        if (form_.values_.size() == most_values) return false;
        numbered_ += std::to_string(form_.values_.size());
        v.at = static_cast<std::uint16_t>(form_.text_.size());
        v.size = static_cast<std::uint16_t>(bytes.size());
        form_.text_ += bytes;
        form_.values_.push_back(v);
        return true;
    }

    /// Leaves the bytes of open values out of what is fixed.
    void open_texts()
    {
        std::string text;
        std::size_t at = 0;
        for (value& v : form_.values_) {
            text.append(form_.text_, at, v.at - at);
            at = std::size_t{v.at} + v.size;
            const std::string_view bytes = form_.bytes_of(v);
            v.at = static_cast<std::uint16_t>(text.size());
            if (v.open)
                v.size = 0;
            else
                text += bytes;
        }
        text.append(form_.text_, at);
        form_.text_ = std::move(text);
    }

    event_skeleton form_;
    std::string numbered_;  ///< the document with numbers for values
};

std::optional<event_skeleton> event_skeleton::of(std::string_view whole, std::string_view data,
                                                 const path_tree& tree)
{
    if (data.empty() || !is_json(data)) return std::nullopt;
    builder made;
    if (!made.take(whole, data, tree) || made.form().text_.size() > longest_fixed) return std::nullopt;
    return std::move(made.form());
}

std::optional<event_skeleton> event_skeleton::of_event(std::string_view event, const path_tree& tree)
{
    if (event.size() > longest_read) return std::nullopt;
    return of(event, data_of(event), tree);
}

std::optional<event_skeleton> event_skeleton::of_document(std::string_view text, const path_tree& tree)
{
    if (text.size() > longest_read || !text.starts_with('{')) return std::nullopt;
    return of(text, text, tree);
}

bool event_skeleton::widen(const event_skeleton& other)
{
    if (values_.size() != other.values_.size() || reports_ != other.reports_) return false;
    std::string text;
    std::vector<value> merged;
    std::size_t at = 0;
    std::size_t there = 0;
    const auto same_until = [&](std::size_t here, std::size_t its) {
        const auto fixed = std::string_view{text_}.substr(at, here - at);
        text += fixed;
        return fixed == std::string_view{other.text_}.substr(there, its - there);
    };
    for (std::size_t i = 0; i < values_.size(); ++i) {
        const value& mine = values_[i];
        const value& its = other.values_[i];
        if (mine.number != its.number || !same_until(mine.at, its.at)) return false;
        value both = mine;
        both.open = mine.open || its.open || bytes_of(mine) != other.bytes_of(its);
        both.at = static_cast<std::uint16_t>(text.size());
        if (both.open)
            both.size = 0;
        else
            text += bytes_of(mine);
        merged.push_back(both);
        at = std::size_t{mine.at} + mine.size;
        there = std::size_t{its.at} + its.size;
    }
    if (!same_until(text_.size(), other.text_.size())) return false;
    text_ = std::move(text);
    values_ = std::move(merged);
    lay_out();
    return true;
}

void event_skeleton::lay_out()
{
    static std::atomic<std::uint32_t> serials{0};
    do {
        serial_ = serials.fetch_add(1, std::memory_order_relaxed) + 1;
    } while (serial_ == 0);
    const auto is_open = [this](const reported& r) { return values_[r.value].open; };
    const bool last_is_open = std::ranges::any_of(
        reports_, [&](const reported& r) { return r.steady == steadiness::last_counts && is_open(r); });
    const auto says_nothing_again = [&](const reported& r) {
        if (r.steady == steadiness::none || is_open(r)) return false;
        return r.steady == steadiness::first_counts || !last_is_open;
    };
    news_.clear();
    std::ranges::remove_copy_if(reports_, std::back_inserter(news_), says_nothing_again);
    stretches_.clear();
    std::size_t at = 0;
    for (std::size_t i = 0; i < values_.size(); ++i) {
        const value& v = values_[i];
        if (!v.open) continue;
        stretches_.push_back({.size = static_cast<std::uint16_t>(v.at - at),
                              .open = static_cast<std::uint8_t>(i),
                              .number = v.number});
        at = v.at;
    }
    stretches_.push_back({.size = static_cast<std::uint16_t>(text_.size() - at)});
}

std::size_t event_skeleton::match(std::string_view bytes, values& open) const noexcept
{
    const char* p = bytes.data();
    const char* const end = p + bytes.size();
    const char* fixed = text_.data();
    for (const stretch& s : stretches_) {
        if (static_cast<std::size_t>(end - p) < s.size || std::memcmp(p, fixed, s.size) != 0) return 0;
        p += s.size;
        fixed += s.size;
        if (s.open == most_values) break;
        json_string& hole = open[s.open];
        const char* const q = s.number ? number_end(p, end) : string_end(p, end, hole.escaped);
        if (q == nullptr) return 0;
        hole.raw = {p, static_cast<std::size_t>(q - p)};
        p = q;
    }
    return static_cast<std::size_t>(p - bytes.data());
}

std::size_t event_skeleton::place_in_form(const values& open, std::size_t in_event) const noexcept
{
    std::size_t opened = 0;
    std::size_t at = 0;
    for (const stretch& s : stretches_) {
        at += s.size;
        if (in_event < at + opened || s.open == most_values) break;
        opened += open[s.open].raw.size();
    }
    return in_event - opened;
}

std::size_t event_skeleton::place_in_event(const values& open, std::size_t in_form) const noexcept
{
    std::size_t opened = 0;
    std::size_t at = 0;
    for (const stretch& s : stretches_) {
        at += s.size;
        if (in_form < at || s.open == most_values) break;
        opened += open[s.open].raw.size();
    }
    return in_form + opened;
}

void event_skeleton::report(const values& open, json_reader& reader, json_sink& sink, bool again) const
{
    for (const reported& r : again ? news_ : reports_)
        tell(r, open, reader, sink);
}

void event_skeleton::report_pieces_last(const values& open, json_reader& reader, json_sink& sink) const
{
    for (const reported& r : reports_)
        if (!r.pieces) tell(r, open, reader, sink);
    if (!sink.wants_pieces()) return;
    for (const reported& r : reports_)
        if (r.pieces) tell(r, open, reader, sink);
}

void event_skeleton::tell(const reported& r, const values& open, json_reader& reader, json_sink& sink) const
{
    switch (r.what) {
    case report_kind::begin:
        sink.on_begin(r.id);
        break;
    case report_kind::end:
        sink.on_end(r.id);
        break;
    case report_kind::text: {
        const value& v = values_[r.value];
        const json_string text =
            v.open ? open[r.value] : json_string{.raw = bytes_of(v), .escaped = v.escaped};
        if (text.escaped)
            reader.report_escaped(r.id, text.raw);
        else
            report_text(sink, r.id, text.raw, r.pieces);
        break;
    }
    case report_kind::number: {
        const value& v = values_[r.value];
        json_scalar number;
        number.kind = json_scalar::type::number;
        number.text = v.open ? open[r.value].raw : bytes_of(v);
        sink.on_scalar(r.id, number);
        break;
    }
    case report_kind::word: {
        json_scalar word;
        word.kind = r.word;
        word.truth = r.truth;
        word.text = r.word == json_scalar::type::null ? "null" : r.truth ? "true" : "false";
        sink.on_scalar(r.id, word);
        break;
    }
    case report_kind::document_end:
        sink.on_document_end(r.truth);
        break;
    case report_kind::value_end:
        sink.on_value_end();
        break;
    }
}

}  // namespace keyhole::metering
