// Splits an application/vnd.amazon.eventstream body into its binary messages and checks both checksums of
// each. A message of up to `whole_limit` bytes is delivered only after its checksum held; a larger one passes
// piece by piece.
// https://docs.aws.amazon.com/transcribe/latest/dg/streaming-setting-up.html#streaming-event-stream-encoding
// https://smithy.io/2.0/aws/amazon-eventstream.html
// Thread rule: one owner.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace keyhole::metering {

/// The headers of a message that tell what it is.
struct eventstream_head {
    std::string_view message_type;  ///< event, exception, error
    std::string_view event_type;    ///< chunk, metadata, contentBlockDelta …
    std::string_view error_type;    ///< :exception-type or :error-code
};

class eventstream_sink {
public:
    virtual ~eventstream_sink() = default;
    virtual void on_message_begin(const eventstream_head& head) = 0;
    virtual void on_payload(std::string_view piece) = 0;
    virtual void on_message_end() = 0;
};

class eventstream_splitter {
public:
    static constexpr std::size_t whole_limit = 1u << 20;
    static constexpr std::size_t head_limit = 128u << 10;    ///< headers, by the specification
    static constexpr std::size_t message_limit = 25u << 20;  ///< 24 MiB of payload by the specification

    explicit eventstream_splitter(eventstream_sink& sink) noexcept : sink_{sink} {}

    void feed(std::string_view bytes);
    /// Something did not hold: a checksum, a length. After a bad prelude nothing more can be read.
    bool damaged() const noexcept { return damaged_; }
    /// Between two messages.
    bool idle() const noexcept { return held_.empty() && rest_ == 0; }

private:
    bool take_message(std::string_view& bytes);
    bool deliver(std::string_view message);
    void begin_large(std::string_view head);

    eventstream_sink& sink_;
    std::string held_;       ///< a message (or the head of a large one) that is not complete
    std::size_t rest_ = 0;   ///< payload and checksum bytes of a large message still to come
    std::uint32_t crc_ = 0;  ///< of the large message so far
    std::string trailer_;
    bool damaged_ = false;
    bool lost_ = false;
};

}  // namespace keyhole::metering
