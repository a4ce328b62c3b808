#include "metering/decode.hpp"

#include <algorithm>
#include <array>
#include <brotli/decode.h>
#include <iterator>
#include <string>
#include <vector>
#include <zlib.h>
#include <zstd.h>

namespace keyhole::metering {

namespace {

constexpr std::size_t piece_size = 64u << 10;

const Bytef* bytes_of(std::string_view in) noexcept
{
    return reinterpret_cast<const Bytef*>(in.data());
}

/// gzip (several members too), and deflate, which is zlib's form by RFC 9110 but comes raw from some servers.
class zlib_decoder final : public content_decoder {
public:
    explicit zlib_decoder(bool gzip) : gzip_{gzip} {}
    ~zlib_decoder() override
    {
        if (open_) inflateEnd(&z_);
    }
    zlib_decoder(const zlib_decoder&) = delete;
    zlib_decoder& operator=(const zlib_decoder&) = delete;

    bool feed(std::string_view in, decoded_sink& sink) override
    {
        if (in.empty()) return true;
        if (!open_ && gzip_ && in[0] != '\x1f') plain_ = true;  // said to be compressed, but isn't
        if (plain_) {
            sink.on_decoded(in);
            return true;
        }
        if (!open_) {
            // A zlib header's low nibble is 8 (deflate); a raw stream that begins so is rarer than a server
            // that lies.
            const bool zlib_header = (static_cast<unsigned char>(in[0]) & 0x0F) == 8;
            const int window = gzip_ ? 15 + 16 : zlib_header ? 15 : -15;
            if (inflateInit2(&z_, window) != Z_OK) return false;
            open_ = true;
        }
        if (swollen()) return false;
        takes(in.size());
        z_.next_in = const_cast<Bytef*>(
            bytes_of(in));  // NOLINT(cppcoreguidelines-pro-type-const-cast): zlib's signature
        z_.avail_in = static_cast<uInt>(in.size());
        while (z_.avail_in != 0 || more_) {
            if (ended_) {
                // Another gzip member may follow; anything else after the end is padding.
                if (!gzip_ || *z_.next_in != 0x1f) return true;
                if (inflateReset(&z_) != Z_OK) return false;
                ended_ = false;
            }
            z_.next_out = reinterpret_cast<Bytef*>(out_.data());
            z_.avail_out = static_cast<uInt>(out_.size());
            const int result = inflate(&z_, Z_NO_FLUSH);
            const std::size_t n = out_.size() - z_.avail_out;
            more_ = z_.avail_out == 0;
            if (!gives({out_.data(), n}, sink)) return false;
            if (result == Z_STREAM_END) {
                ended_ = true;
                more_ = false;
            } else if (result == Z_BUF_ERROR) {
                more_ = false;
                return true;
            } else if (result != Z_OK) {
                return false;
            }
        }
        return true;
    }

private:
    bool gzip_;
    bool open_ = false;
    bool plain_ = false;
    bool ended_ = false;
    bool more_ = false;
    z_stream z_{};
    std::vector<char> out_ = std::vector<char>(piece_size);
};

class brotli_decoder final : public content_decoder {
public:
    ~brotli_decoder() override { BrotliDecoderDestroyInstance(state_); }
    brotli_decoder() = default;
    brotli_decoder(const brotli_decoder&) = delete;
    brotli_decoder& operator=(const brotli_decoder&) = delete;

    bool feed(std::string_view in, decoded_sink& sink) override
    {
        if (state_ == nullptr || swollen()) return false;
        takes(in.size());
        const std::uint8_t* next = bytes_of(in);
        std::size_t left = in.size();
        for (;;) {
            std::size_t none = 0;
            const auto result = BrotliDecoderDecompressStream(state_, &left, &next, &none, nullptr, nullptr);
            while (BrotliDecoderHasMoreOutput(state_) != BROTLI_FALSE) {
                std::size_t n = piece_size;
                const std::uint8_t* out = BrotliDecoderTakeOutput(state_, &n);
                if (!gives({reinterpret_cast<const char*>(out), n}, sink)) return false;
            }
            if (result == BROTLI_DECODER_RESULT_ERROR) return false;
            if (result != BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT) return true;
        }
    }

private:
    BrotliDecoderState* state_ = BrotliDecoderCreateInstance(nullptr, nullptr, nullptr);
};

class zstd_decoder final : public content_decoder {
public:
    zstd_decoder()
    {
        // RFC 9659: an HTTP sender keeps to a window of 8 MiB.
        if (context_ != nullptr) ZSTD_DCtx_setParameter(context_, ZSTD_d_windowLogMax, 23);
    }
    ~zstd_decoder() override { ZSTD_freeDCtx(context_); }
    zstd_decoder(const zstd_decoder&) = delete;
    zstd_decoder& operator=(const zstd_decoder&) = delete;

    bool feed(std::string_view in, decoded_sink& sink) override
    {
        if (context_ == nullptr || swollen()) return false;
        takes(in.size());
        ZSTD_inBuffer input{.src = in.data(), .size = in.size(), .pos = 0};
        bool full = false;
        while (input.pos < input.size || full) {
            ZSTD_outBuffer output{.dst = out_.data(), .size = out_.size(), .pos = 0};
            const std::size_t result = ZSTD_decompressStream(context_, &output, &input);
            if (ZSTD_isError(result) != 0) return false;
            if (!gives({out_.data(), output.pos}, sink)) return false;
            full = output.pos == output.size;
        }
        return true;
    }

private:
    ZSTD_DCtx* context_ = ZSTD_createDCtx();
    std::vector<char> out_ = std::vector<char>(piece_size);
};

}  // namespace

// The one coding that is not identity, in lower case; of several, all of them.
static std::string coding_of(std::string_view encoding)
{
    constexpr std::string_view nothing[] = {"", "identity", "none", "utf-8", "utf8", "binary"};
    std::string out;
    encoding = encoding.substr(0, 64);
    while (!encoding.empty()) {
        const std::size_t size = std::min(encoding.find(','), encoding.size());
        std::string name{encoding.substr(0, size)};
        encoding.remove_prefix(std::min(size + 1, encoding.size()));
        std::erase_if(name, [](char c) { return c == ' ' || c == '\t'; });
        std::ranges::transform(name, name.begin(), [](char c) {
            return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
        });
        if (std::ranges::find(nothing, name) != std::end(nothing)) continue;
        out += (out.empty() ? "" : ",") + name;
    }
    return out;
}

bool content_decoder::is_identity(std::string_view encoding)
{
    return encoding.empty() || coding_of(encoding).empty();
}

std::unique_ptr<content_decoder> content_decoder::make(std::string_view encoding, bool& known)
{
    const std::string name = coding_of(encoding);
    known = true;
    if (name.empty()) return nullptr;
    if (name == "gzip" || name == "x-gzip") return std::make_unique<zlib_decoder>(true);
    if (name == "deflate") return std::make_unique<zlib_decoder>(false);
    if (name == "br") return std::make_unique<brotli_decoder>();
    if (name == "zstd") return std::make_unique<zstd_decoder>();
    known = false;
    return nullptr;
}

}  // namespace keyhole::metering
