// Any bytes on any wire, cut anywhere: the same reading, no negative bucket, sums that hold.
// The first bytes choose the wire, the content type, the coding and the cuts.

// links: keyhole_wires
#include "metering/known_events.hpp"
#include "metering/meter.hpp"

#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>

namespace {

using namespace keyhole::metering;

constexpr std::array<std::string_view, 6> types = {"",
                                                   "application/json",
                                                   "text/event-stream",
                                                   "application/x-ndjson",
                                                   "application/vnd.amazon.eventstream",
                                                   "audio/mpeg"};
constexpr std::array<std::string_view, 5> codings = {"", "gzip", "deflate", "br", "zstd"};

void check(const reading& r)
{
    const token_counts& c = r.counts;
    for (const std::int64_t n :
         {c.input, c.cache_read, c.cache_write_5m, c.cache_write_1h, c.output, c.output_reasoning,
          c.input_audio, c.output_audio, c.input_image, c.output_image, c.web_searches})
    {
        if (n < 0) std::abort();
    }
    if (r.source == usage_source::none && c.total() != 0) std::abort();
    if (r.error_type.size() > 64 || r.model.size() > 96 || r.id.size() > 96 || r.service_tier.size() > 32)
        std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    if (size < 4) return 0;
    const auto format = static_cast<wire>(data[0] % (static_cast<unsigned>(last_wire) + 1));
    const answer_head head{.status = data[1] % 8 == 7 ? 429 : 200,
                           .content_type = types[data[1] / 8 % types.size()],
                           .content_encoding =
                               data[2] % 4 != 0 ? codings[0] : codings[data[2] / 4 % codings.size()]};
    const std::size_t step = 1 + data[3] % 32U;
    const bool complete = data[3] / 32 % 2 == 0;
    const std::string_view body{reinterpret_cast<const char*>(data) + 4, size - 4};

    // What an input does must not hang on those before it.
    known_events::events_of(format) = {};
    known_events::documents_of(format) = {};
    meter at_once{format, head};
    at_once.feed(body);
    const reading& whole = at_once.finish(complete);
    check(whole);

    meter cut{format, head};
    for (std::size_t i = 0; i < body.size(); i += step) {
        cut.feed(std::string{body.substr(i, step)});
        check(cut.so_far());
    }
    const reading& pieces = cut.finish(complete);
    check(pieces);
    if (pieces.counts != whole.counts || pieces.source != whole.source || pieces.terminal != whole.terminal ||
        pieces.model != whole.model || pieces.text != whole.text || pieces.error_type != whole.error_type)
    {
        std::abort();
    }
    return 0;
}
