#include "verdict.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cctype>
#include <iterator>

namespace keyhole::corpus {
namespace {

using nlohmann::json;

/// The data of each event; comments and names of events are left out. LF, CRLF and lone CR.
std::vector<std::string> events_of(std::string_view stream)
{
    std::vector<std::string> out;
    std::string data;
    bool any = false;
    if (stream.starts_with("\xEF\xBB\xBF")) stream.remove_prefix(3);
    while (!stream.empty()) {
        const auto end = std::min(stream.find_first_of("\r\n"), stream.size());
        auto line = stream.substr(0, end);
        stream.remove_prefix(
            std::min(end + (stream.substr(end).starts_with("\r\n") ? 2U : 1U), stream.size()));
        if (line.starts_with("data:")) {
            line.remove_prefix(line.starts_with("data: ") ? 6 : 5);
            data += (any ? "\n" : "") + std::string(line);
            any = true;
        }
        if ((line.empty() || stream.empty()) && any) {
            out.push_back(std::move(data));
            data.clear();
            any = false;
        }
    }
    return out;
}

/// A chunk that is there only because usage was asked for.
bool tells_only_usage(const json& event)
{
    constexpr std::string_view envelope[] = {
        "id",      "object", "created",  "model",       "system_fingerprint", "usage",
        "choices", "error",  "provider", "obfuscation", "service_tier"};
    if (!event.contains("usage") || !event["usage"].is_object()) return false;
    if (event.contains("error") && !event["error"].is_null()) return false;
    if (event.contains("choices") && !event["choices"].is_null())
        return event["choices"].is_array() && event["choices"].empty();
    return std::ranges::all_of(event.items(), [&](const auto& member) {
        return std::ranges::find(envelope, member.key()) != std::end(envelope);
    });
}

/// The events that an agent which asked for no usage would have received, as JSON where they are.
std::vector<json> without_usage(const std::vector<std::string>& events)
{
    std::vector<json> out;
    for (const auto& text : events) {
        json event = json::parse(text, nullptr, false);
        if (event.is_discarded() || !event.is_object()) {
            out.emplace_back(text);
            continue;
        }
        if (tells_only_usage(event)) continue;
        if (const auto usage = event.find("usage"); usage != event.end() && usage->is_null())
            event.erase(usage);
        out.push_back(std::move(event));
    }
    return out;
}

std::string first_difference(std::string_view sent, std::string_view got)
{
    const auto [a, b] = std::mismatch(sent.begin(), sent.end(), got.begin(), got.end());
    return "bytes differ at " + std::to_string(a - sent.begin()) + " (" + std::to_string(sent.size()) +
           " sent, " + std::to_string(got.size()) + " arrived)";
}

}  // namespace

std::string compare_bytes(const test_case& c, const recorded_answer& sent, const answer& got, bool inserted)
{
    if (!got.problem.empty()) return got.problem;
    if (got.status != c.status)
        return "status " + std::to_string(got.status) + " (sent " + std::to_string(c.status) + ")";
    for (const auto& [name, value] : sent.fields) {
        if (name == "content-type" && got.content_type != value) return "content-type " + got.content_type;
        if (name == "content-encoding" && got.content_encoding != value)
            return "content-encoding " + got.content_encoding;
    }
    // A stream that ends in good order but without its API's last event is broken off for the agent.
    if (!got.whole && c.expected.complete != 0)
        return "the answer broke off after " + std::to_string(got.body.size()) + " bytes";
    const bool plain =
        sent.fields.end() == std::find_if(sent.fields.begin(), sent.fields.end(),
                                          [](const auto& f) { return f.first == "content-encoding"; });
    constexpr std::string_view events = "text/event-stream";
    const bool streams =
        std::ranges::equal(std::string_view(got.content_type).substr(0, events.size()), events, {},
                           [](unsigned char letter) { return std::tolower(letter); });
    if (!inserted || !plain || !streams)
        return got.body == sent.body ? std::string() : first_difference(sent.body, got.body);
    const auto wanted = without_usage(events_of(sent.body));
    const auto arrived = without_usage(events_of(got.body));
    const auto all = events_of(got.body).size();
    if (wanted == arrived && all == arrived.size()) return {};
    return "an inserted include_usage shows: " + std::to_string(wanted.size()) + " events wanted, " +
           std::to_string(all) + " arrived";
}

std::string compare_row(const test_case& c, const metering::record& row, bool billed_before)
{
    using metering::usage_source;
    const auto& e = c.expected;
    std::string text;
    const auto differ = [&](std::string_view what, std::int64_t got, std::int64_t wanted) {
        if (got == wanted) return;
        text += text.empty() ? "row: " : ", ";
        text += std::string(what) + ' ' + std::to_string(got) + " (expected " + std::to_string(wanted) + ')';
    };
    differ("status", row.status, c.status);
    const bool known = row.source == usage_source::provider || row.source == usage_source::provider_partial;
    if (!e.present || billed_before) {
        if (known)
            text += (text.empty() ? "row: " : ", ") + std::string("source ") +
                    std::string(to_string(row.source)) + " where no usage was told";
        return text;
    }
    const auto& n = row.counts;
    if (row.source == usage_source::estimated && e.complete == 0) {
        // Cut after its usage was first told: what was written since is added, and marked. Never less.
        differ("input", n.all_input(), e.input);
        if (n.all_output() < e.output) differ("output", n.all_output(), e.output);
        return text;
    }
    if (!known)
        text += (text.empty() ? "row: " : ", ") + std::string("source ") +
                std::string(to_string(row.source)) + " (expected provider)";
    const auto within = [](std::int64_t part, std::int64_t whole) {
        return std::min(part, std::max<std::int64_t>(whole, 0));
    };
    differ("input", n.all_input(), e.input);
    differ("output", n.all_output(), e.output);
    differ("cache_read", n.cache_read, within(e.cache_read, e.input));
    differ("cache_write", n.cache_write_5m + n.cache_write_1h, e.cache_write);
    differ("reasoning", n.output_reasoning, within(e.reasoning, e.output));
    differ("total", n.total(), e.input + e.output);
    const bool named =
        !row.answered_model.empty() && !e.model.empty() && row.format != metering::wire::bedrock_invoke;
    if (named &&
        row.answered_model.view() != std::string_view(e.model).substr(0, row.answered_model.view().size()))
        text += (text.empty() ? "row: model " : ", model ") + std::string(row.answered_model.view()) +
                " (expected " + e.model + ")";
    return text;
}

}  // namespace keyhole::corpus
