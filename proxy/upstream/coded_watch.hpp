// KEY_STAYS_HOME in answers that a provider compressed although nobody asked: such bytes cannot be starred
// out, and they go on as they came (BYTES_UNTOUCHED), so what they decode to is read before they leave. Bytes
// that would complete the key never leave. No I/O. Thread rule: one owner.
#pragma once

#include "metering/decode.hpp"
#include "proxy/upstream/masking.hpp"

#include <memory>
#include <string>
#include <string_view>

namespace keyhole::proxy::upstream {

class coded_watch final : metering::decoded_sink {
public:
    enum class verdict {
        clear,   ///< may go on
        unsure,  ///< ends in what may be the beginning of the key: hold it until the next bytes are looked at
        key_found,  ///< must not go on
    };

    /// `coding`: the answer's content-encoding, neither empty nor identity.
    coded_watch(std::string_view coding, std::string_view key);

    /// Whether this coding can be read at all; an answer in another one can't be vouched for.
    bool knows_coding() const noexcept { return decoder_ != nullptr; }
    /// It can no longer be read: it decodes to more than any answer has.
    bool swollen() const noexcept { return decoder_ && decoder_->swollen(); }

    /// Looks at the next coded bytes; `last`: the body ends with them. What can't be decoded is clear: no
    /// reader gets more out of it than this one. What swells beyond all measure can't be vouched for.
    verdict look(std::string_view coded, bool last);

private:
    void on_decoded(std::string_view bytes) override;

    std::unique_ptr<metering::content_decoder> decoder_;
    stream_masker masker_;
    std::string waiting_;  ///< decoded, and perhaps the beginning of the key
    bool found_ = false;
};

}  // namespace keyhole::proxy::upstream
