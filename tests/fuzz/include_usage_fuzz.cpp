// links: keyhole_wires
// The filter gives the same bytes wherever the stream is cut and whatever it knew before, and adds none.
#include "metering/known_cuts.hpp"
#include "metering/request_facts.hpp"

#include <cstdlib>

using namespace keyhole::metering;

namespace {

std::string filtered(std::string_view stream, std::size_t piece, bool forgetful = false)
{
    include_usage_filter filter;
    std::string out;
    for (std::size_t at = 0; at < stream.size(); at += piece) {
        const bool ends_event = stream[at] == '\n' || stream[at] == '\r';
        if (forgetful && ends_event) known_cuts::of_thread() = {};
        out += filter.feed(stream.substr(at, piece));
    }
    out += filter.finish();
    return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    if (size < 2) return 0;
    const std::string stream(data + 1, data + size);
    const std::string whole = filtered(stream, 1, true);
    if (filtered(stream, stream.size()) != whole) std::abort();
    if (whole.size() > stream.size()) std::abort();
    if (filtered(stream, 1) != whole || filtered(stream, 1U + data[0]) != whole) std::abort();
    if (stream.find("\"usage\"") == stream.npos && whole != stream) std::abort();
    return 0;
}
