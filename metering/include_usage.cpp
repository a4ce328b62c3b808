#include "metering/byte_scan.hpp"
#include "metering/json_scan.hpp"
#include "metering/known_cuts.hpp"
#include "metering/request_facts.hpp"

#include <algorithm>
#include <cstring>
#include <string>

namespace keyhole::metering {
namespace {

constexpr std::string_view usage_key = "\"usage\"";
constexpr std::size_t longest_event = std::size_t{1024} * 1024;

/// What to do with one event: drop it, or leave out the bytes [begin, end) (none: begin == end).
struct verdict {
    bool drop = false;
    std::size_t begin = 0;
    std::size_t end = 0;
};

// The members of a usage chunk. Hosts that leave `choices` out of it send chunks of other kinds, too, and
// those are not ours to take.
constexpr std::string_view envelope[] = {"id",           "object", "created", "model", "system_fingerprint",
                                         "service_tier", "usage",  "choices", "error", "provider",
                                         "obfuscation"};

constexpr std::string_view bom = "\xEF\xBB\xBF";

bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

std::size_t line_end(std::string_view text, std::size_t from)
{
    const char* const end = text.data() + text.size();
    return static_cast<std::size_t>(find_either<'\n', '\r'>(text.data() + from, end) - text.data());
}

// From a value's end: over the comma that follows, and what space stands before the next key. No comma: the
// value's end.
std::size_t past_comma(std::string_view text, std::size_t at)
{
    std::size_t next = at;
    while (is_space(text[next]))
        ++next;
    if (text[next] != ',') return at;
    do {
        ++next;
    } while (is_space(text[next]));
    return next;
}

struct chunk_facts {
    std::size_t usages = 0;
    std::size_t choices = 0;
    bool usage_null = false;
    bool usage_object = false;
    bool choices_empty = false;
    bool choices_null = false;
    bool others = false;  ///< members that no chunk has because it tells the usage
    bool error = false;
    std::size_t usage_begin = 0;  ///< with the comma before it, where there is one
    std::size_t usage_end = 0;
    bool usage_first = false;

    /// The chunk that is sent because usage was asked for, and for nothing else.
    bool is_extra() const
    {
        const bool none = choices == 0 || choices_null;
        return usages == 1 && choices <= 1 && usage_object && !error && (choices_empty || (none && !others));
    }
};

bool is_empty_array(std::string_view value)
{
    return value.size() >= 2 && value.front() == '[' &&
           value.find_first_not_of(" \t\r\n", 1) == value.size() - 1;
}

// The chunk's own members. False: the text is no JSON object from its first byte to its last.
bool read_chunk(std::string_view json, chunk_facts& facts)
{
    json_cursor cursor(json);
    cursor.skip_space();
    const bool whole = cursor.read_members([&](const json_member& member) {
        const bool usage = json_key_is(member.key, "usage");
        const bool choices = !usage && json_key_is(member.key, "choices");
        const std::size_t begin = cursor.offset();
        if (!cursor.skip_value()) return false;
        const std::string_view value = cursor.since(begin);
        if (choices) {
            ++facts.choices;
            facts.choices_null = value == "null";
            facts.choices_empty = is_empty_array(value);
        }
        if (json_key_is(member.key, "error")) facts.error = value != "null";
        facts.others = facts.others || std::ranges::none_of(envelope, [&](std::string_view name) {
                           return json_key_is(member.key, name);
                       });
        if (usage) {
            ++facts.usages;
            facts.usage_null = value == "null";
            facts.usage_object = value.front() == '{';
            facts.usage_first = member.comma == std::string_view::npos;
            facts.usage_begin = facts.usage_first ? member.begin : member.comma;
            facts.usage_end = cursor.offset();
        }
        return true;
    });
    if (!whole || cursor.faulty()) return false;
    cursor.skip_space();
    return cursor.done();
}

// Takes the next line off `text`, with what ends it; `ended` is where its own bytes end.
std::string_view take_line(std::string_view& text, std::size_t& ended)
{
    ended = line_end(text, 0);
    const std::size_t size = ended + (text.substr(ended).starts_with("\r\n") ? 2U : 1U);
    const auto line = text.substr(0, size);
    text.remove_prefix(line.size());
    return line;
}

/// The data of an event as its reader sees it. Fields beside it (event, id, retry, comments) don't matter.
struct event_data {
    std::size_t lines = 0;
    std::string_view first;  ///< the first data line's value, in the event's own bytes
    std::string joined;      ///< where there are several
};

event_data data_of(std::string_view event)
{
    constexpr std::string_view field = "data:";
    event_data out;
    while (!event.empty()) {
        std::size_t ended = 0;
        const auto line = take_line(event, ended).substr(0, ended);
        if (!line.starts_with(field)) continue;
        const auto value = line.substr(field.size());
        if (++out.lines == 1) {
            out.first = value;
            continue;
        }
        if (out.lines == 2) out.joined = out.first;
        out.joined.append("\n").append(value);
    }
    return out;
}

// The event, from its first line on, with or without the blank line that ends it.
verdict judge(std::string_view event)
{
    if (memmem(event.data(), event.size(), usage_key.data(), usage_key.size()) == nullptr) return {};
    const event_data data = data_of(event);
    if (data.lines == 0) return {};
    chunk_facts facts;
    if (!read_chunk(data.lines == 1 ? data.first : data.joined, facts)) return {};
    if (facts.is_extra()) return {.drop = true};
    // Nothing is cut out of data that stands on several lines.
    if (data.lines != 1 || facts.usages != 1 || facts.choices > 1 || !facts.usage_null) return {};
    const auto before = static_cast<std::size_t>(data.first.data() - event.data());
    const std::size_t end = facts.usage_first ? past_comma(data.first, facts.usage_end) : facts.usage_end;
    return {.begin = before + facts.usage_begin, .end = before + end};
}

// As judge(). Nearly every event of a stream has a usage that is null, in the same place of the same form.
verdict judge_quickly(std::string_view event)
{
    auto& known = known_cuts::of_thread();
    if (const auto cut = known.find(event)) return {.begin = cut->begin, .end = cut->end};
    const verdict found = judge(event);
    // Where the key is written otherwise ("us\\u0061ge"), what is judged hangs on more than the form.
    if (event.substr(found.begin, found.end - found.begin).find(usage_key) != event.npos)
        known.learn(event, {found.begin, found.end});
    return found;
}

}  // namespace

void include_usage_filter::end_event(std::string_view tail)
{
    dropped_ = false;
    if (passing_) {
        passing_ = first_ = false;
        out_.append(tail);
        return;
    }
    std::string_view event = tail;
    if (!held_.empty()) {
        held_.append(tail);
        event = held_;
    }
    pass(event);
    held_.clear();
}

void include_usage_filter::pass(std::string_view event)
{
    if (first_ && event.starts_with(bom)) {
        out_.append(bom);
        event.remove_prefix(bom.size());
    }
    first_ = false;
    const verdict found = event.size() > longest_event ? verdict{} : judge_quickly(event);
    dropped_ = found.drop;
    if (!found.drop) {
        out_.append(event.substr(0, found.begin));
        out_.append(event.substr(found.end));
        return;
    }
    // A comment before it keeps the connection alive; it is no part of the event.
    while (!event.empty()) {
        std::size_t ended = 0;
        const auto line = take_line(event, ended);
        if (line.starts_with(':')) out_.append(line);
    }
}

std::string_view include_usage_filter::feed(std::string_view bytes)
{
    out_.clear();
    std::size_t begin = 0;  // of the current event's part in these bytes
    for (std::size_t at = 0; at < bytes.size(); ++at) {
        const char c = bytes[at];
        if (c != '\n' && c != '\r') {
            line_empty_ = false;
            after_cr_ = false;
            at = line_end(bytes, at) - 1;
            continue;
        }
        if (c == '\n' && after_cr_) {
            after_cr_ = false;
            // Nothing of the new event has come yet: this LF still belongs to the blank line of the event
            // before.
            if (at == begin && held_.empty() && !passing_) {
                if (!dropped_) out_.push_back(c);
                begin = at + 1;
            }
            continue;
        }
        after_cr_ = c == '\r';
        if (line_empty_) {
            end_event(bytes.substr(begin, at + 1 - begin));
            begin = at + 1;
        }
        line_empty_ = true;
    }

    const std::string_view rest = bytes.substr(begin);
    if (passing_) {
        out_.append(rest);
    } else {
        held_.append(rest);
        if (held_.size() > longest_event) {
            passing_ = true;
            out_.append(held_);
            held_.clear();
        }
    }
    return out_;
}

std::string_view include_usage_filter::finish()
{
    out_.clear();
    // The stream may end without the last blank line; the extra chunk is as extra then.
    if (!held_.empty()) pass(held_);
    held_.clear();
    dropped_ = false;
    line_empty_ = true;
    after_cr_ = false;
    passing_ = false;
    return out_;
}

}  // namespace keyhole::metering
