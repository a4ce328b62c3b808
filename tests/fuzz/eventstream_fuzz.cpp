// Any bytes, cut anywhere, split into the same messages. The checksums of messages that begin right are
// mended first, so that the fuzzer gets past them.

// links: keyhole_wires z
#include "metering/eventstream.hpp"

#include <cstdint>
#include <cstdlib>
#include <string>
#include <zlib.h>

namespace {

struct message_log final : keyhole::metering::eventstream_sink {
    std::string log;
    void on_message_begin(const keyhole::metering::eventstream_head& head) override
    {
        log += '\1';
        log += head.event_type;
        log += head.error_type;
        log += '\2';
    }
    void on_payload(std::string_view piece) override { log += piece; }
    void on_message_end() override { log += '\3'; }
};

std::uint32_t number(const std::string& bytes, std::size_t at)
{
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i)
        value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
    return value;
}

void mend(std::string& bytes, std::size_t from, std::size_t count)
{
    const auto sum = static_cast<std::uint32_t>(
        crc32(0, reinterpret_cast<const Bytef*>(bytes.data() + from), static_cast<uInt>(count)));
    for (std::size_t i = 0; i < 4; ++i)
        bytes[from + count + i] = static_cast<char>(static_cast<unsigned char>(sum >> (24 - 8 * i) & 0xff));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    std::string bytes{reinterpret_cast<const char*>(data), size};
    for (std::size_t at = 0; at + 16 <= bytes.size();) {
        const std::size_t total = number(bytes, at);
        if (total < 16) break;
        mend(bytes, at, 8);
        if (total > bytes.size() - at) break;
        mend(bytes, at, total - 4);
        at += total;
    }
    message_log whole;
    keyhole::metering::eventstream_splitter at_once{whole};
    at_once.feed(bytes);

    const std::size_t step = size == 0 ? 1 : 1 + data[size - 1] % 9U;
    message_log pieces;
    keyhole::metering::eventstream_splitter cut{pieces};
    for (std::size_t i = 0; i < bytes.size(); i += step)
        cut.feed(bytes.substr(i, step));
    if (whole.log != pieces.log || at_once.damaged() != cut.damaged()) std::abort();
    return 0;
}
