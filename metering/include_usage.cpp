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
    std::size_t usage_begin = 0;  ///< with the comma before it, where there is one
    std::size_t usage_end = 0;
    bool usage_first = false;
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
            facts.choices_empty = is_empty_array(value);
        }
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

// The data of an event whose every line is a data field, joined as its reader joins it; empty: it has others.
std::string joined_data(std::string_view event, std::string_view field)
{
    std::string out;
    while (!event.empty()) {
        const auto end = std::min(event.find_first_of("\r\n"), event.size());
        const auto line = event.substr(0, end);
        event.remove_prefix(std::min(end + 1, event.size()));
        if (line.empty()) continue;
        if (!line.starts_with(field)) return {};
        out.append(line.substr(field.size())).push_back('\n');
    }
    return out;
}

// The event with or without the blank line that ends it.
verdict judge(std::string_view event)
{
    constexpr std::string_view field = "data:";
    if (memmem(event.data(), event.size(), usage_key.data(), usage_key.size()) == nullptr ||
        !event.starts_with(field))
        return {};
    const std::size_t line = line_end(event, 0);
    chunk_facts facts;
    if (event.find_first_not_of("\r\n", line) != event.npos) {
        // Over several lines: the extra chunk goes as a whole; nothing is cut out of others.
        const std::string text = joined_data(event, field);
        const bool extra =
            !text.empty() && read_chunk(text, facts) && facts.usages == 1 && facts.choices == 1;
        return {.drop = extra && facts.choices_empty && facts.usage_object};
    }

    const std::string_view json = event.substr(field.size(), line - field.size());
    if (!read_chunk(json, facts) || facts.usages != 1 || facts.choices > 1) return {};
    if (facts.choices_empty && facts.usage_object) return {.drop = true};
    if (!facts.usage_null) return {};
    const std::size_t end = facts.usage_first ? past_comma(json, facts.usage_end) : facts.usage_end;
    return {.begin = field.size() + facts.usage_begin, .end = field.size() + end};
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
        passing_ = false;
        out_.append(tail);
        return;
    }
    std::string_view event = tail;
    if (!held_.empty()) {
        held_.append(tail);
        event = held_;
    }
    const verdict found = event.size() > longest_event ? verdict{} : judge_quickly(event);
    if (found.drop) {
        dropped_ = true;
    } else {
        out_.append(event.substr(0, found.begin));
        out_.append(event.substr(found.end));
    }
    held_.clear();
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
    if (!judge(held_).drop) out_.append(held_);
    held_.clear();
    dropped_ = false;
    line_empty_ = true;
    after_cr_ = false;
    passing_ = false;
    return out_;
}

}  // namespace keyhole::metering
