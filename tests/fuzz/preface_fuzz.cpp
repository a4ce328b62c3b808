// links: keyhole_proxy
// A PROXY v2 preface of any bytes: bounded, its token lies inside it, and pieces of it say "need more" until
// it is whole.
#include "proxy/http/preface.hpp"

#include <cstdint>
#include <cstdlib>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    using namespace keyhole::proxy::http;
    const std::string text(data, data + size);
    const preface p = read_preface(text);
    if (p.is == preface::verdict::ok || p.is == preface::verdict::hand_off) {
        if (p.bytes > text.size() || p.bytes > max_preface_bytes || p.bytes < 16) std::abort();
        if (!p.token.empty() &&
            (p.token.data() < text.data() || p.token.data() + p.token.size() > text.data() + p.bytes))
        {
            std::abort();
        }
        for (std::size_t n = 1; n < p.bytes; ++n) {
            const std::string part = text.substr(0, n);
            if (read_preface(part).is != preface::verdict::need_more) std::abort();
        }
    }
    return 0;
}
