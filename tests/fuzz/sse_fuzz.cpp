// Any bytes, cut anywhere, split into the same events.

// links: keyhole_wires
#include "metering/sse.hpp"

#include <cstdint>
#include <cstdlib>
#include <string>

namespace {

struct event_log final : keyhole::metering::sse_sink {
    std::string log;
    void on_event_data(std::string_view piece) override { log += piece; }
    void on_event_end(std::string_view name) override
    {
        log += '\0';
        log += name;
        log += '\1';
    }
    void on_error_line() override { log += '\2'; }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    const std::string_view bytes{reinterpret_cast<const char*>(data), size};
    event_log whole;
    keyhole::metering::sse_splitter at_once{whole};
    at_once.feed(bytes);
    at_once.finish();

    const std::size_t step = size == 0 ? 1 : 1 + data[0] % 7U;
    event_log pieces;
    keyhole::metering::sse_splitter cut{pieces};
    for (std::size_t i = 0; i < size; i += step)
        cut.feed(std::string{bytes.substr(i, step)});
    cut.finish();
    if (whole.log != pieces.log) std::abort();
    return 0;
}
