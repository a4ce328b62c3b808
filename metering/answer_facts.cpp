#include "metering/answer_facts.hpp"

#include "metering/numbers.hpp"

#include <algorithm>
#include <cstring>
#include <string>

namespace keyhole::metering {

namespace {

using kind = path_action::kind;

/// Numbers that make a usage object one: a total or a cache count alone doesn't.
constexpr std::uint32_t counted_bits =
    usage_numbers::bit(quantity::input) | usage_numbers::bit(quantity::input_more) |
    usage_numbers::bit(quantity::output) | usage_numbers::bit(quantity::reasoning) |
    usage_numbers::bit(quantity::input_image);

bool counts_parts(const usage_numbers& numbers) noexcept
{
    return (numbers.present & counted_bits) != 0;
}

bool counts_something(const usage_numbers& numbers, const usage_shape& shape) noexcept
{
    return counts_parts(numbers) || (shape.rule.lone_total_is_input && numbers.has(quantity::total)) ||
           (shape.rule.by_the_piece && numbers.has(quantity::web_searches));
}

/// How much a usage object knows. One object may be read by two shapes, of which one finds no name but the
/// total's, or only the zeros that a host fills the names with that it does not use.
int weight_of(const usage_numbers& numbers) noexcept
{
    if (!counts_parts(numbers)) return 1;
    for (std::size_t i = 0; i < quantity_count; ++i) {
        const auto q = static_cast<quantity>(i);
        if ((usage_numbers::bit(q) & counted_bits) != 0 && numbers[q] != 0) return 3;
    }
    return 2;
}

char lower(char c) noexcept
{
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool equal_without_case(std::string_view a, std::string_view b) noexcept
{
    return std::ranges::equal(a, b, {}, lower, lower);
}

bool contains(std::span<const std::string_view> names, std::string_view name) noexcept
{
    return std::ranges::find(names, name) != names.end();
}

void subtract(std::int64_t& from, std::int64_t n) noexcept
{
    from = std::max<std::int64_t>(from - n, 0);
}

}  // namespace

static std::size_t slots_of(const wire_rules& rules) noexcept
{
    std::size_t n = 0;
    for (const usage_place& place : rules.usages)
        n = std::max<std::size_t>(n, place.slot + 1U);
    return n;
}

answer_facts::answer_facts(wire w, int status) : wire_{compiled(w)}, rules_{*wire_.rules}, status_{status} {}

answer_facts::staged& answer_facts::staged_at(std::size_t place)
{
    if (staged_.empty()) staged_.resize(rules_.usages.size());
    return staged_[place];
}

answer_facts::slot& answer_facts::slot_at(std::size_t index)
{
    if (slots_.empty()) slots_.resize(slots_of(rules_));
    return slots_[index];
}

void answer_facts::event_type(std::string_view name) noexcept
{
    if (contains(rules_.terminal_types, name)) reading_.terminal = true;
    if (contains(rules_.error_types, name) || name == "error") reading_.error_event = status_ < 400;
}

void answer_facts::done_marker() noexcept
{
    if (rules_.done_marker) reading_.terminal = true;
}

void answer_facts::failed(std::string_view type)
{
    reading_.error_event = status_ < 400;
    error_type(type, 0);
}

void answer_facts::on_value_end()
{
    if (one_body_ && !unfinished_) reading_.terminal = true;
}

bool answer_facts::slot::counts() const noexcept
{
    return shape != nullptr && !spoiled && counts_something(numbers, *shape);
}

/// What was told before is out of date, and what is told now can't be read.
void answer_facts::spoil(slot& s) noexcept
{
    s.spoiled = true;
    changed_ = true;
    reading_.counts = {};
}

/// Google's models speak OpenAI's API on paths that say nothing of it, through gateways, too; the name of the
/// model that answers does. One that says no name is taken for theirs: nobody else's leave it out.
containment answer_facts::rule_for(const usage_shape& shape) const
{
    containment rule = shape.rule;
    if (!rule.total_decides) return rule;
    const std::string_view name = std::string_view{reading_.model}.substr(reading_.model.rfind('/') + 1);
    constexpr std::string_view families[] = {"gemini", "gemma", "learnlm"};
    rule.total_holds_thinking = name.empty() || std::ranges::any_of(families, [&](std::string_view family) {
                                    return equal_without_case(name.substr(0, family.size()), family);
                                });
    return rule;
}

bool answer_facts::has_usage() const noexcept
{
    if (status_ >= 400) return false;
    const bool in_head = header_counts_ && (header_counts_->present & counted_bits) != 0;
    return in_head || std::ranges::any_of(
                          slots_, [](const slot& s) { return s.counts() && !s.shape->rule.by_the_piece; });
}

bool answer_facts::needs_terminal() const noexcept
{
    return rules_.needs_terminal;
}

void answer_facts::on_begin(path_id id)
{
    for (const path_action& action : wire_.actions[id])
        begin(action);
}

void answer_facts::on_end(path_id id)
{
    for (const path_action& action : wire_.actions[id])
        end(action);
}

void answer_facts::on_scalar(path_id id, const json_scalar& value)
{
    for (const path_action& action : wire_.actions[id])
        scalar(action, value);
}

void answer_facts::on_piece(path_id id, std::string_view piece)
{
    for (const path_action& action : wire_.actions[id]) {
        if (action.what == kind::text) text(action.rank, piece);
    }
}

bool answer_facts::wants_pieces() const
{
    return texts_ == texts_counted::all || !reading_.terminal || !has_usage();
}

/// Some hosts send a text twice, as deltas and whole: the place of the lowest rank counts.
void answer_facts::text(std::uint8_t rank, std::string_view piece)
{
    if (rank > text_rank_) return;
    if (rank < text_rank_) {
        text_rank_ = rank;
        counter_ = {};
        reading_.text.bytes = reading_.text.deltas = 0;
    }
    counter_.add(piece);
    reading_.text.bytes += piece.size();
    reading_.text.millitokens = counter_.millitokens();
}

void answer_facts::on_document_end(bool)
{
    opening_ = false;
    // A stream repeats the answer as it grows.
    if (pending_searches_ > searches_) {
        searches_ = pending_searches_;
        changed_ = true;
    }
    pending_searches_ = 0;
    abandon_document(true);
    if (pending_terminal_) reading_.terminal = true;
    pending_terminal_ = false;
}

void answer_facts::abandon_document(bool cut)
{
    for (std::size_t i = 0; cut && pending_places_ >> i != 0; ++i) {
        if ((pending_places_ >> i & 1U) != 0) commit(rules_.usages[i], staged_at(i).numbers);
    }
    pending_places_ = 0;
    // A stream may go on for minutes before it counts again.
    if (!staged_.empty()) std::vector<staged>().swap(staged_);
    if (cut) return;
    pending_terminal_ = false;
    pending_searches_ = 0;
}

void answer_facts::begin(const path_action& action)
{
    switch (action.what) {
    case kind::usage:
        staged_at(action.place) = {};
        break;
    case kind::list:
        slot_at(rules_.usages[action.place].slot).numbers = {};
        break;
    case kind::entry:
        staged_at(action.place).label_size = 0;
        staged_at(action.place).count = 0;
        break;
    case kind::fact:
        if (action.said == fact::error_object) reading_.error_event = status_ < 400;
        if (action.said == fact::terminal_mark) pending_terminal_ = true;
        break;
    default:
        break;
    }
}

void answer_facts::end(const path_action& action)
{
    if (action.what == kind::usage) {
        const usage_place& place = rules_.usages[action.place];
        // The elements of a list follow each other in one document.
        const bool list = place.how == merging::sum || place.how == merging::beyond;
        if (staged_at(action.place).unreadable)
            spoil(slot_at(place.slot));
        else if (list)
            commit(place, staged_at(action.place).numbers);
        else
            pending_places_ |= 1U << action.place;
    } else if (action.what == kind::entry) {
        staged& s = staged_at(action.place);
        for (const labelled_quantity& part : action.breakdown->parts) {
            if (equal_without_case(part.label, {s.label.data(), s.label_size})) {
                s.numbers.set(part.what, saturated_sum(s.numbers[part.what], s.count));
            }
        }
    }
}

/// A number, or a string that is one. Anything else but null spoils the object: what it leaves open would be
/// booked as nothing.
std::optional<std::int64_t> answer_facts::count(staged& s, const usage_shape& shape, const json_scalar& value)
{
    using type = json_scalar::type;
    if (value.kind == type::null) return std::nullopt;
    const bool written = value.kind == type::number || value.kind == type::string;
    const bool fraction = value.text.find_first_of(".eE") != std::string_view::npos;
    if (shape.digits_only && fraction) return std::nullopt;
    const auto number = written ? parse_count(value.text) : std::nullopt;
    if (!number) s.unreadable = true;
    return number;
}

void answer_facts::scalar(const path_action& action, const json_scalar& value)
{
    switch (action.what) {
    case kind::number: {
        staged& s = staged_at(action.place);
        const auto number = count(s, *rules_.usages[action.place].shape, value);
        if (!number) return;
        const auto q = static_cast<std::size_t>(action.counted);
        const bool first = !s.numbers.has(action.counted);
        const bool better = *number != 0 && (s.numbers.value[q] == 0 || action.rank < s.rank[q]);
        if (first || better || action.rank == s.rank[q]) {
            s.numbers.set(action.counted, *number);
            s.rank[q] = action.rank;
        }
        break;
    }
    case kind::entry_label: {
        staged& s = staged_at(action.place);
        const std::size_t n = std::min(value.text.size(), s.label.size());
        if (n != 0) std::memcpy(s.label.data(), value.text.data(), n);
        s.label_size = static_cast<std::uint8_t>(n);
        break;
    }
    case kind::entry_count:
        staged_at(action.place).count =
            count(staged_at(action.place), *rules_.usages[action.place].shape, value).value_or(0);
        break;
    case kind::fact:
        say(action, value);
        break;
    default:
        break;
    }
}

void answer_facts::say(const path_action& action, const json_scalar& value)
{
    using type = json_scalar::type;
    const bool text = value.kind == type::string && !value.text.empty();
    switch (action.said) {
    case fact::model:
        if (!text || !reading_.model.empty()) break;
        reading_.model = value.text.substr(0, 96);
        changed_ = true;  // rule_for() asks
        break;
    case fact::id:
        if (text && reading_.id.empty()) reading_.id = value.text.substr(0, 96);
        break;
    case fact::service_tier:
        if (text && !quick_) reading_.service_tier = value.text.substr(0, 32);
        break;
    case fact::speed:
        quick_ = text && value.text != "standard";
        if (quick_) reading_.service_tier = value.text.substr(0, 32);
        break;
    case fact::state:
        if (text) reading_.state = value.text.substr(0, 32);
        break;
    case fact::event_type:
        if (text && contains(rules_.terminal_types, value.text)) pending_terminal_ = true;
        if (text && contains(rules_.error_types, value.text)) reading_.error_event = status_ < 400;
        opening_ = value.text.ends_with(".added");
        break;
    case fact::error_type:
        if (text || value.kind == type::number) error_type(value.text, action.rank);
        break;
    case fact::refusal_type:
        if (status_ >= 400 && (text || value.kind == type::number) && value.text != "error") {
            error_type(value.text, action.rank);
        }
        break;
    case fact::error_object:
        if (text) reading_.error_event = status_ < 400;
        break;
    case fact::terminal_flag:
        if (value.kind != type::boolean) break;
        if (value.truth) pending_terminal_ = true;
        unfinished_ = !value.truth;
        break;
    case fact::terminal_mark:
        if (value.kind != type::null) pending_terminal_ = true;
        break;
    case fact::text:
        if (value.length != 0 && action.rank == text_rank_) ++reading_.text.deltas;
        break;
    case fact::call:
        if (!text) break;
        ++reading_.text.calls;
        reading_.text.call_bytes += value.length;
        break;
    case fact::sealed: {
        if (value.kind != type::string || value.length == 0) break;
        // An item's first form is sealed with nothing in it: what the last form has beyond that counts.
        const auto length = static_cast<std::int64_t>(std::min<std::uint64_t>(value.length, 1U << 30U));
        reading_.text.sealed_bytes += opening_ ? -length : length;
        if (!opening_) ++reading_.text.sealed;
        break;
    }
    case fact::part_model:
        if (text && value.text != reading_.model) reading_.beyond_model = value.text.substr(0, 96);
        break;
    case fact::search_call:
        if (value.text == "web_search_call") ++pending_searches_;
        break;
    case fact::search_kind:
        // Pages that are opened and looked through cost nothing beyond their tokens; searches do.
        if (value.text == "open_page" || value.text == "find_in_page" || value.text == "find")
            --pending_searches_;
        break;
    case fact::search_query:
        if (text) ++pending_searches_;
        break;
    case fact::cost_usd:
        if (value.kind == type::number)
            reading_.provider_cost_nano_usd = scaled_decimal(value.text, 9).value_or(0);
        break;
    case fact::cost_ticks:
        if (value.kind == type::number)
            reading_.provider_cost_nano_usd = scaled_decimal(value.text, -1).value_or(0);
        break;
    }
}

void answer_facts::error_type(std::string_view text, std::uint8_t rank)
{
    if (rank > error_rank_) return;
    error_rank_ = rank;
    reading_.error_type.clear();
    for (const char c : text.substr(0, 64)) {
        const char l = lower(c);
        const bool allowed =
            (l >= 'a' && l <= 'z') || (l >= '0' && l <= '9') || l == '_' || l == '.' || l == '-';
        if (l == ':') break;  // AWS: "Name:http://…"
        reading_.error_type.push_back(allowed ? l : '_');
    }
}

void answer_facts::commit(const usage_place& place, const usage_numbers& numbers)
{
    if (numbers.present == 0) return;
    slot& s = slot_at(place.slot);
    changed_ = true;
    switch (place.how) {
    case merging::replace:
        // An object without any count ({"trafficType": …}) is no news, nor is a total beside known parts.
        if (!counts_something(numbers, *place.shape)) return;
        if (s.counts() && counts_parts(s.numbers) && !counts_parts(numbers)) return;
        s.numbers = numbers;
        s.shape = place.shape;
        s.spoiled = false;
        return;
    case merging::overlay:
    case merging::overlay_positive:
        for (std::size_t i = 0; i < quantity_count; ++i) {
            const auto q = static_cast<quantity>(i);
            if (!numbers.has(q)) continue;
            if (place.how == merging::overlay_positive && numbers[q] == 0 && s.numbers.has(q)) continue;
            s.numbers.set(q, numbers[q]);
        }
        break;
    case merging::sum:
    case merging::beyond:
        for (std::size_t i = 0; i < quantity_count; ++i) {
            const auto q = static_cast<quantity>(i);
            if (numbers.has(q)) s.numbers.set(q, saturated_sum(s.numbers[q], numbers[q]));
        }
        break;
    }
    s.shape = place.shape;
}

const reading& answer_facts::settle()
{
    if (!changed_) return reading_;
    changed_ = false;
    if (status_ >= 400) return reading_;
    const slot* best = nullptr;
    int best_weight = 0;
    const slot* parts = nullptr;
    for (const usage_place& place : rules_.usages) {
        if (slots_.empty()) break;
        const slot& s = slots_[place.slot];
        if (!s.counts()) continue;
        if (place.how == merging::beyond) {
            parts = &s;
            continue;
        }
        const int weight = weight_of(s.numbers);
        if (best == nullptr || weight > best_weight ||
            (weight == best_weight && place.slot < static_cast<std::size_t>(best - slots_.data())))
        {
            best = &s;
            best_weight = weight;
        }
    }
    if (best == nullptr) {
        if (header_counts_) {
            reading_.counts = buckets_of(*header_counts_, {.cache_beside_input = true});
        }
        return reading_;
    }
    reading_.counts = buckets_of(best->numbers, rule_for(*best->shape));
    if (!best->numbers.has(quantity::web_searches) && !best->numbers.has(quantity::more_searches))
        reading_.counts.web_searches = searches_;
    reading_.provider_total.reset();
    reading_.total_mismatch = false;
    if (best->numbers.has(quantity::total)) {
        reading_.provider_total = best->numbers[quantity::total];
        reading_.total_mismatch = *reading_.provider_total != reading_.counts.total();
    }
    reading_.beyond = {};
    if (parts != nullptr) {
        token_counts beyond = buckets_of(parts->numbers, parts->shape->rule);
        const token_counts& c = reading_.counts;
        subtract(beyond.input, c.input);
        subtract(beyond.cache_read, c.cache_read);
        subtract(beyond.cache_write_5m, c.cache_write_5m);
        subtract(beyond.cache_write_1h, c.cache_write_1h);
        // The parts' output is not broken down.
        std::int64_t output = beyond.all_output();
        subtract(output, c.all_output());
        beyond.output = output;
        beyond.output_reasoning = beyond.output_audio = beyond.output_image = 0;
        beyond.web_searches = 0;
        reading_.beyond = beyond;
    }
    return reading_;
}

}  // namespace keyhole::metering
