// Answers that are held until they are whole, since what must come out of them can't be found piece by piece.
#include "metering/decode.hpp"
#include "proxy/relay/relaying.hpp"

#include <string>
#include <utility>

namespace keyhole::proxy {
namespace {

constexpr std::size_t longest_error_body = 512 * 1024;  // an error body is masked whole up to here
constexpr std::size_t longest_decoded = 8 * 1024 * 1024;
constexpr std::size_t longest_listing = 8 * 1024 * 1024;

/// Collects what a content decoder gives, up to a bound.
struct plain_text final : metering::decoded_sink {
    std::string text;
    bool cut = false;
    void on_decoded(std::string_view bytes) override
    {
        if (text.size() < longest_decoded)
            text += bytes;
        else
            cut = true;
    }
};

/// KEY_STAYS_HOME in error bodies, compressed ones included: one that holds the key goes on in plain, masked.
/// False: it decodes to more than is looked through.
bool mask_error(relaying& r, std::string& body)
{
    auto& x = r.x;
    if (!x.key) return true;
    const auto key = x.key->reveal();
    const auto mask = [&](std::string& text) {
        bool masked = upstream::mask_fragments(text, key);
        upstream::stream_masker(key).mask(text, masked);
        return masked;
    };
    bool known = false;
    plain_text decoded;
    bool masked = false;
    if (const auto decoder = metering::content_decoder::make(x.answer.get("content-encoding"), known)) {
        decoder->feed(body, decoded);
        if (decoded.cut) return false;
        masked = mask(decoded.text);
        if (masked) {
            body = std::move(decoded.text);
            std::erase_if(x.answer.fields,
                          [](const http::field& f) { return http::iequals(f.name, "content-encoding"); });
        }
    } else
        masked = mask(body);
    if (masked) r.c.home().shared().meters.key_masked(x.to->provider.name);
    return true;
}

}  // namespace

task<failure> relay_whole(relaying& r)
{
    auto& x = r.x;
    r.left = x.answer.content_length;
    const std::size_t most = x.answer.status >= 400 ? longest_error_body : longest_listing;
    std::string body;
    bool keeps_alive = true;
    while (true) {
        const payload p = decode(r);
        if (r.chunks.failed()) break;
        body.append(p.view());
        x.row().bytes_out += static_cast<std::int64_t>(p.size);
        if (r.done || body.size() > most) break;
        r.c.limit().expect(waiting_for::answer, seconds_of(x.to->provider.idle_timeout));
        error_code ec;
        const std::size_t n = co_await read_some(r, ec);
        if (n != 0) continue;
        r.done = ec == asio::error::eof && x.answer.framing == http::body_framing::until_close;
        break;
    }
    if (!r.done) {
        account(x, metering::outcome::provider_cut,
                r.chunks.failed() ? std::string_view("bad_chunk") : cut_error(r),
                "an answer that is cut, malformed or too long to be looked through");
        co_return failure{errc::provider_bad_answer, "The provider's answer broke off.", {}, 0};
    }
    x.meter->feed(body);
    if (!mask_error(r, body)) {
        account(x, metering::outcome::provider_cut, "too_long_decoded",
                "a compressed answer that decodes to too much");
        co_return failure{
            errc::provider_bad_answer, "The provider's answer is too long to be looked through.", {}, 0};
    }
    if (x.answer.status < 400) {
        std::string mine = co_await keep_own_objects(x, std::move(body));
        body = std::move(mine);
    }
    r.head = build_answer_head(x, body.size(), false, keeps_alive);
    x.head.keep_alive = keeps_alive;
    finish(r);
    if (r.c.agent_gone()) co_return failure{};
    r.c.limit().expect(waiting_for::agent_to_read, seconds_of(x.rt->settings->bounds.write_timeout));
    if (keeps_alive && x.body_read) r.c.foretell_rest(r.head.size() + body.size());
    x.answer_begun = true;
    const bool written = co_await r.c.write(r.head, body);
    x.torn = !written;
    co_return failure{};
}

}  // namespace keyhole::proxy
