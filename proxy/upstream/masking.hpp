// KEY_STAYS_HOME for what comes back: a provider's answer that echoes the key (or part of it) is masked, and
// only that substring, byte for byte with '*', so that lengths and framing stay as they are. No I/O. Thread
// rule: one owner.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace keyhole::proxy::upstream {

/// Masks whole occurrences of a key in a stream of bytes, also where they are split over reads.
class stream_masker {
public:
    explicit stream_masker(std::string_view key) noexcept : key_(key) {}

    /// Masks inside `bytes` in place. Returns how many of its last bytes could be the beginning of the key
    /// and must wait: the caller puts them before the next read's. Nearly always 0: the prefix that all keys
    /// of a provider share is not waited for.
    std::size_t mask(std::span<char> bytes, bool& masked) noexcept;

private:
    std::string_view key_;
    std::string passed_;  ///< the last few bytes that were let through: a key may have begun in them
};

/// Masks the key, long parts of it, and the fragments that providers show of it ("sk-ab***wxyz"), in a whole
/// error body or field. Returns whether anything was masked.
bool mask_fragments(std::span<char> text, std::string_view key) noexcept;

}  // namespace keyhole::proxy::upstream
