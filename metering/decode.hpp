// Content decoding for the meter's side tap: gzip, deflate (zlib or raw), br, zstd. The agent gets the
// provider's bytes as they are; only the meter reads decoded ones. Output comes in pieces of at most 64 KiB,
// so a bomb costs time, not memory. Thread rule: one owner.
#pragma once

#include <memory>
#include <string_view>

namespace keyhole::metering {

class decoded_sink {
public:
    virtual ~decoded_sink() = default;
    virtual void on_decoded(std::string_view bytes) = 0;
};

class content_decoder {
public:
    virtual ~content_decoder() = default;
    /// false: the bytes can't be decoded; nothing more comes.
    virtual bool feed(std::string_view bytes, decoded_sink& sink) = 0;

    /// The decoder of a content-encoding header; nullptr where none is needed (identity) or there is none
    /// (`known` false).
    static std::unique_ptr<content_decoder> make(std::string_view encoding, bool& known);
};

}  // namespace keyhole::metering
