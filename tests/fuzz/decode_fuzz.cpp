// links: keyhole_wires
// Any bytes through each content decoder: the same text however they are cut, and bounded pieces.
#include "metering/decode.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

using namespace keyhole::metering;

constexpr std::array<std::string_view, 4> codings = {"gzip", "deflate", "br", "zstd"};

struct collector final : decoded_sink {
    std::string text;
    void on_decoded(std::string_view bytes) override
    {
        if (bytes.size() > 65536) std::abort();
        if (text.size() < 1U << 20U) text += bytes;
    }
};

std::string decoded(std::string_view coding, std::string_view body, std::size_t step)
{
    bool known = false;
    const auto decoder = content_decoder::make(coding, known);
    if (!known || !decoder) std::abort();
    collector sink;
    for (std::size_t at = 0; at < body.size(); at += step) {
        const std::string piece(body.substr(at, step));
        if (!decoder->feed(piece, sink)) break;
    }
    return sink.text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    if (size < 3) return 0;
    const std::string_view body{reinterpret_cast<const char*>(data) + 2, size - 2};
    const std::string_view coding = codings[data[0] % codings.size()];
    const std::string whole = decoded(coding, body, body.size());
    const std::string pieces = decoded(coding, body, 1 + data[1] % 32U);
    // A decoder may stop earlier in the output when it sees a mistake later in the same bytes.
    const std::size_t common = std::min(whole.size(), pieces.size());
    if (whole.compare(0, common, pieces, 0, common) != 0) std::abort();
    return 0;
}
