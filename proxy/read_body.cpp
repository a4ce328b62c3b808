// Step 5: the body, bounded, and what must be known of it. JSON is scanned in one pass, never built into a
// tree, never changed but for the one documented insertion. File uploads are not held: forward.cpp sends them
// on as they come.
#include "metering/media_kinds.hpp"
#include "metering/numbers.hpp"
#include "proxy/exchange.hpp"
#include "proxy/http/chunked.hpp"
#include "proxy/http/multipart.hpp"

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>

namespace keyhole::proxy {
namespace {

constexpr std::size_t worth_discarding = 1024 * 1024;
constexpr std::size_t scanned_in_a_turn = 1024 * 1024;  // longer bodies are read through beside the worker

failure too_large(std::size_t limit)
{
    return {errc::body_too_large,
            "The request's body is larger than " + std::to_string(limit) + " bytes (limits.max_body_bytes).",
            {},
            0};
}

failure cut_short(const connection& c)
{
    if (c.expired() == waiting_for::body)
        return {errc::request_timeout, "The request's body did not arrive in time.", {}, 0};
    return {errc::bad_request, "The request's body ended early.",
            "the agent hung up while sending its request", 0};
}

task<failure> read_sized(exchange& x, std::size_t limit)
{
    auto& c = x.agent;
    if (x.head.content_length > limit) co_return too_large(limit);
    const auto size = std::size_t{x.head.content_length};
    const auto here = std::min(size, c.unread().size());
    if (here == size)
        x.body.append(c.unread().substr(0, here), size);
    else if (here != 0) {
        const auto room = x.body.room(size);
        x.body.grew(c.unread().copy(room.data(), std::min(here, room.size())));
    }
    c.consume(x.body.size());
    while (x.body.size() < size) {
        c.limit().expect(waiting_for::body, seconds_of(x.rt->settings->bounds.body_timeout));
        const auto room = x.body.room(size);
        const std::size_t n = co_await c.read_into(room.data(), room.size());
        if (n == 0) co_return cut_short(c);
        x.body.grew(n);
    }
    co_return failure{};
}

task<failure> read_chunked(exchange& x, std::size_t limit)
{
    auto& c = x.agent;
    http::chunk_decoder decoder;
    std::string piece;
    while (!decoder.done()) {
        if (c.unread().empty()) {
            c.limit().expect(waiting_for::body, seconds_of(x.rt->settings->bounds.body_timeout));
            const bool more = co_await c.read_more();
            if (!more) co_return cut_short(c);
        }
        piece.assign(c.unread());
        const auto step = decoder.feed(piece.data(), piece.size());
        if (decoder.failed()) {
            x.head.keep_alive = false;  // where the next request begins is anybody's guess
            co_return failure{errc::bad_request, "The request's chunked body is malformed.", {}, 0};
        }
        x.body.append(std::string_view(piece).substr(step.payload_begin, step.payload_size), limit);
        c.consume(step.consumed);
        if (x.body.size() > limit) co_return too_large(limit);
    }
    co_return failure{};
}

/// A name in a path as it is meant: ARNs come percent-encoded. parse_target() let only harmless codes pass.
std::string decoded(std::string_view name)
{
    const auto digit = [&](std::size_t at) {
        const char c = at < name.size() ? name[at] : ' ';
        if (c >= '0' && c <= '9') return c - '0';
        if (c >= 'a' && c <= 'f') return c - 'a' + 10;
        return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    };
    std::string out;
    for (std::size_t i = 0; i < name.size(); ++i) {
        const bool code = name[i] == '%' && digit(i + 1) >= 0 && digit(i + 2) >= 0;
        out += code ? static_cast<char>(digit(i + 1) * 16 + digit(i + 2)) : name[i];
        if (code) i += 2;
    }
    return out;
}

/// What must be known of a JSON body.
failure read_json(exchange& x)
{
    x.facts = metering::scan_request(x.body.view());
    if (!x.facts.ambiguous_member.empty())
        return {errc::bad_request,
                "The JSON member \"" + x.facts.ambiguous_member +
                    "\" stands twice or is not usable; send it once.",
                {},
                0};
    if (x.way->inserts_usage) x.edit = metering::include_usage_edit(x.facts);
    // What the path names is what the provider reads.
    if (!x.named.model.empty()) x.facts.model = decoded(x.named.model);
    x.facts.stream = x.facts.stream || streams_by_path(*x.way);
    // Needed at the end of an answer, when a short body may have gone.
    if (x.way->path == "/audio/speech")
        x.spoken_bytes = metering::demand_of(x.way->wire, x.facts.model, x.body.view()).spoken_bytes;
    return {};
}

/// How many pictures a form asks for; what cannot be read is the most that the API makes.
std::int64_t pictures_of(const exchange& x)
{
    constexpr std::int64_t most = 10;
    if (x.way->wire != metering::wire::openai_images) return 1;
    const auto form = http::read_form_text(x.head.get("content-type"), x.body.view(), "n");
    if (form.result == http::form_text::verdict::unclear) return most;
    if (form.value.empty()) return 1;
    return std::clamp<std::int64_t>(metering::parse_count(form.value).value_or(most), 1, most);
}

/// What a form's text and files may cost: sounds by their length, pictures by their size. A body that is no
/// form is for the provider to judge, and a token a byte.
void hold_form(exchange& x)
{
    const auto w = x.way->wire;
    const auto kind =
        w == metering::wire::openai_audio ? metering::media_kind::audio : metering::media_kind::image;
    // Some readers take a file from a field that has no file's name.
    const auto is_picture = [&](std::string_view name) {
        return kind == metering::media_kind::image &&
               (http::iequals(name.substr(0, 5), "image") || http::iequals(name, "mask"));
    };
    x.facts.text_bytes = 0;
    const bool form =
        http::each_form_part(x.head.get("content-type"), x.body.view(), [&](const http::form_part& part) {
            x.facts.text_bytes += part.name.size() + 1;
            if (part.is_file || is_picture(part.name))
                x.facts.upload_tokens +=
                    metering::media_tokens_of(w, x.facts.model, kind,
                                              part.value.substr(0, metering::media_head), part.value.size())
                        .most;
            else
                x.facts.text_bytes += part.value.size();
        });
    if (!form) x.facts.unbroken_bytes = x.body.size();
}

/// Some APIs take the same fields as JSON where others take a form.
bool comes_as_json(const exchange& x)
{
    if (x.way->body == body_kind::json) return true;
    const auto is_type = [](const http::field& f) { return http::iequals(f.name, "content-type"); };
    if (std::ranges::count_if(x.head.fields, is_type) != 1) return false;
    auto type = x.head.get("content-type");
    type = type.substr(0, type.find(';'));
    return http::iequals(type.substr(0, type.find_last_not_of(" \t") + 1), "application/json");
}

/// The form's model. NO_WAY_AROUND: a form that two readers could read differently goes no further.
failure read_form(exchange& x)
{
    const auto types = std::count_if(x.head.fields.begin(), x.head.fields.end(), [](const http::field& f) {
        return http::iequals(f.name, "content-type");
    });
    auto form = http::read_form_text(x.head.get("content-type"), x.body.view(), "model");
    if (types > 1) form = {http::form_text::verdict::unclear, {}, "it has several content types"};
    if (form.result == http::form_text::verdict::unclear)
        return {errc::bad_request, std::string("The form cannot be read: ") + form.why + '.', {}, 0};
    x.facts.model = std::move(form.value);
    x.facts.choices = pictures_of(x);
    hold_form(x);
    return {};
}

failure read_through(exchange& x)
{
    return comes_as_json(x) ? read_json(x) : read_form(x);
}

/// Nothing else looks at the exchange meanwhile: its coroutine waits.
task<failure> read_through_aside(exchange& x)
{
    auto& home = x.agent.home();
    failure found;
    std::function<void()> work = [&x, &found] {
        found = read_through(x);
        if (found || !x.facts.is_object) return;
        x.asked = std::make_unique<metering::request_demand>(
            metering::demand_of(x.way->wire, x.facts.model, x.body.view()));
    };
    x.agent.limit().rest();
    co_await home.aside().run(home.io().get_executor(), std::move(work));
    co_return found;
}

}  // namespace

task<failure> read_body(exchange& x)
{
    x.overhead_from_us = x.received_us;
    const std::size_t limit = x.rt->settings->bounds.max_body_bytes;
    if (x.way->body == body_kind::opaque && x.head.content_length > limit) co_return too_large(limit);
    if (x.way->body == body_kind::none || x.way->body == body_kind::opaque) co_return failure{};
    if (x.head.expects_continue && !x.body_read) {
        const bool told = co_await x.agent.write_interim("HTTP/1.1 100 Continue\r\n\r\n");
        if (!told) co_return failure{errc::bad_request, "The agent hung up.", {}, 0};
    }
    if (x.head.framing == http::body_framing::length) {
        failure f = co_await read_sized(x, limit);
        if (f) co_return f;
    } else if (x.head.framing == http::body_framing::chunked) {
        failure f = co_await read_chunked(x, limit);
        if (f) co_return f;
    }
    x.body_read = true;
    x.overhead_from_us = metering::now_us();

    if (x.body.size() <= scanned_in_a_turn) co_return read_through(x);
    failure f = co_await read_through_aside(x);
    co_return f;
}

task<bool> discard_body(exchange& x)
{
    auto& c = x.agent;
    if (x.head.expects_continue)
        co_return false;  // the agent waits for a word before it sends: it gets the refusal instead
    if (x.head.framing != http::body_framing::length ||
        x.head.content_length > worth_discarding + x.body.size())
        co_return false;
    std::uint64_t left = x.head.content_length - x.body.size();
    x.agent.limit().expect(waiting_for::body, seconds_of(x.rt->settings->bounds.head_timeout));
    while (left != 0) {
        if (c.unread().empty()) {
            const bool more = co_await c.read_more();
            if (!more) co_return false;
        }
        const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(left, c.unread().size()));
        c.consume(n);
        left -= n;
    }
    x.body_read = true;
    co_return true;
}

}  // namespace keyhole::proxy
