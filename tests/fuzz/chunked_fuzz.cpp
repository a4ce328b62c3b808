// links: keyhole_proxy
// Chunked bodies: the same payload however the bytes are cut, never a byte beyond what was given, and what
// was decoded never exceeds what came.
#include "proxy/http/chunked.hpp"

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

using keyhole::proxy::http::chunk_decoder;

struct outcome {
    std::string payload;
    std::size_t consumed = 0;
    bool done = false;
    bool failed = false;
};

outcome decode(const std::string& body, std::size_t step)
{
    outcome out;
    chunk_decoder decoder;
    for (std::size_t at = 0; at < body.size() && !decoder.done() && !decoder.failed(); at += step) {
        const std::string piece = body.substr(at, step);
        std::vector<char> exact(piece.begin(), piece.end());
        const auto got = decoder.feed(exact.data(), exact.size());
        if (got.consumed > exact.size() || got.payload_begin + got.payload_size > exact.size()) std::abort();
        out.payload.append(exact.data() + got.payload_begin, got.payload_size);
        out.consumed += got.consumed;
    }
    out.done = decoder.done();
    out.failed = decoder.failed();
    return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    if (size < 2) return 0;
    const std::string body(data + 1, data + size);
    const outcome whole = decode(body, body.size());
    const outcome pieces = decode(body, 1 + data[0] % 16U);
    if (whole.done != pieces.done || whole.failed != pieces.failed) std::abort();
    if (!whole.failed && (whole.payload != pieces.payload || whole.consumed != pieces.consumed)) std::abort();
    if (whole.payload.size() > body.size()) std::abort();

    char line[32];
    const std::size_t n = keyhole::proxy::http::write_size_line_before(line + sizeof line, size);
    if (n > 18 || std::stoull(std::string(line + sizeof line - n, n), nullptr, 16) != size) std::abort();
    return 0;
}
