// How the mock answers: words "NAME=NUMBER" in the request header x-bench-script, else those of its command
// line.
//   (nothing)          a JSON answer of about 800 bytes
//   events=200         a stream of 200 events, each written on its own, as fast as the reader takes them
//   rate=100           … at 100 a second instead (fractions are allowed), the first at once
#pragma once

#include <cstdint>
#include <string_view>

namespace keyhole::bench {

struct script {
    std::uint64_t events = 0;    ///< 0: a JSON answer
    std::int64_t period_ns = 0;  ///< 0: as fast as possible
};

/// False where `text` is none.
bool parse_script(std::string_view text, script& out) noexcept;

}  // namespace keyhole::bench
