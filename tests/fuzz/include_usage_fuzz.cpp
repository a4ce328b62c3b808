// links: keyhole_wires
// The filter gives the same bytes wherever the stream is cut, adds none, and is done after one pass.
#include "metering/request_facts.hpp"

#include <cstdlib>

using namespace keyhole::metering;

namespace {

std::string filtered(std::string_view stream, std::size_t piece)
{
    include_usage_filter filter;
    std::string out;
    for (std::size_t at = 0; at < stream.size(); at += piece)
        out += filter.feed(stream.substr(at, piece));
    out += filter.finish();
    return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    if (size < 2) return 0;
    const std::string stream(data + 1, data + size);
    const std::string whole = filtered(stream, stream.size());
    if (whole.size() > stream.size()) std::abort();
    if (filtered(stream, 1) != whole || filtered(stream, 1U + data[0]) != whole) std::abort();
    if (stream.find("\"usage\"") == stream.npos && whole != stream) std::abort();
    return 0;
}
