// The bytes of the mock's answers, in OpenAI's chat form. Prompt tokens are the request body's bytes, so that
// a client can tell whether all of its body arrived; completion tokens differ from request to request. Thread
// rule: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace keyhole::bench {

struct usage_numbers {
    std::uint64_t prompt = 0;
    std::uint64_t cached = 0;
    std::uint64_t completion = 0;
};

/// Head and body.
void write_json_answer(std::string& out, const usage_numbers& usage, bool close);
void write_stream_head(std::string& out, bool close);
/// One chunk with one event of about 300 bytes that tells when it was written (common/clock.hpp).
std::string_view event_written_at(std::int64_t ns) noexcept;
/// The usage event in a chunk of its own.
void write_usage_event(std::string& out, const usage_numbers& usage);
/// [DONE] and the last chunk.
std::string_view stream_end() noexcept;
void write_error(std::string& out, std::string_view status, std::string_view text);
/// A control answer.
void write_control(std::string& out, std::string_view json);

}  // namespace keyhole::bench
