// Transfer-Encoding: chunked (RFC 9112 section 7.1), decoded where the bytes lie: the payload of everything
// that was read is moved together inside the same buffer. Trailers and chunk extensions are read over and
// dropped. No I/O.
#pragma once

#include <cstddef>
#include <cstdint>

namespace keyhole::proxy::http {

class chunk_decoder {
public:
    struct step {
        std::size_t payload_begin = 0;  ///< offset of the payload inside `data`
        std::size_t payload_size = 0;
        std::size_t consumed =
            0;  ///< raw bytes read; less than given only when the body ended before them, or failed
    };

    /// Decodes `size` raw bytes at `data`. The payload ends up contiguous inside the same memory; at least
    /// two bytes after it and the bytes of one size line before it are free whenever a chunk began in this
    /// call.
    step feed(char* data, std::size_t size) noexcept;

    bool done() const noexcept { return state_ == state::done; }
    bool failed() const noexcept { return state_ == state::failed; }

private:
    enum class state : std::uint8_t {
        size_first,
        size,
        extension,
        size_lf,
        data,
        data_cr,
        data_lf,
        trailer_first,
        trailer,
        trailer_lf,
        end_lf,
        done,
        failed
    };
    state state_ = state::size_first;
    std::uint64_t left_ = 0;      ///< of the current chunk's data
    std::uint32_t digits_ = 0;    ///< of the current size
    std::uint32_t overhead_ = 0;  ///< bytes of extensions and trailers so far, bounded
};

/// Writes "SIZE\r\n" so that it ends right before `payload`; returns how many bytes that took (at most 18).
std::size_t write_size_line_before(char* payload, std::size_t size) noexcept;

}  // namespace keyhole::proxy::http
