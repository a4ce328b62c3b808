// Content decoding for the meter's side tap: gzip, deflate (zlib or raw), br, zstd. The agent gets the
// provider's bytes as they are; only the meter reads decoded ones. Output comes in pieces of at most 64 KiB,
// so a bomb costs no memory, and no more time than max_decoded() allows. Thread rule: one owner.
#pragma once

#include <cstddef>
#include <cstdint>
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
    /// false: the bytes can't be decoded, or swell beyond max_decoded(); nothing more comes.
    virtual bool feed(std::string_view bytes, decoded_sink& sink) = 0;
    /// The answer swelled beyond max_decoded(): what it holds further on is not known.
    bool swollen() const noexcept { return swollen_; }

    /// The decoder of a content-encoding header; nullptr where none is needed (identity) or there is none
    /// (`known` false). What servers write that compress nothing ("none", "utf-8") is identity; so is
    /// "identity" in a list.
    static std::unique_ptr<content_decoder> make(std::string_view encoding, bool& known);
    static bool is_identity(std::string_view encoding);

    /// How much `coded` bytes may decode to: JSON shrinks to a twentieth, a bomb to hundredths.
    static constexpr std::uint64_t max_decoded(std::uint64_t coded) noexcept
    {
        return (std::uint64_t{16} << 20) + 64 * coded;
    }

protected:
    void takes(std::size_t coded) noexcept { coded_ += coded; }
    /// false: this piece is one too many.
    bool gives(std::string_view piece, decoded_sink& sink)
    {
        decoded_ += piece.size();
        swollen_ = swollen_ || decoded_ > max_decoded(coded_);
        if (!swollen_ && !piece.empty()) sink.on_decoded(piece);
        return !swollen_;
    }

private:
    std::uint64_t coded_ = 0;
    std::uint64_t decoded_ = 0;
    bool swollen_ = false;
};

}  // namespace keyhole::metering
