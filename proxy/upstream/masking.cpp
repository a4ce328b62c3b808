#include "proxy/upstream/masking.hpp"

#include <algorithm>
#include <cstring>

namespace keyhole::proxy::upstream {
namespace {

constexpr std::size_t shared_prefix = 8;     // "sk-proj-", "sk-ant-a": public, the same in every key
constexpr std::size_t telling_fragment = 8;  // so many consecutive bytes of the key are a leak
constexpr std::size_t shown_tail = 3;        // providers show the last four

bool is_key_byte(char c) noexcept
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}
bool is_mask_byte(char c) noexcept
{
    return c == '*' || c == '.' || static_cast<unsigned char>(c) >= 0x80;
}

void stars(std::span<char> text) noexcept
{
    std::fill(text.begin(), text.end(), '*');
}

/// How many bytes at the end of `word` are the end of `key`.
std::size_t common_tail(std::string_view word, std::string_view key) noexcept
{
    std::size_t n = 0;
    while (n < word.size() && n < key.size() && word[word.size() - 1 - n] == key[key.size() - 1 - n])
        ++n;
    return n;
}

std::size_t common_head(std::string_view word, std::string_view key) noexcept
{
    std::size_t n = 0;
    while (n < word.size() && n < key.size() && word[n] == key[n])
        ++n;
    return n;
}

}  // namespace

std::size_t stream_masker::mask(std::span<char> bytes, bool& masked) noexcept
{
    if (key_.size() <= shared_prefix || bytes.empty()) return 0;
    const std::string_view text(bytes.data(), bytes.size());

    // A key that began in the bytes that were let through (at most the shared prefix of it).
    for (std::size_t from = 0; from < passed_.size(); ++from) {
        const auto begun = passed_.size() - from;
        if (std::string_view(passed_).substr(from) != key_.substr(0, begun)) continue;
        const auto rest = key_.substr(begun);
        const auto n = std::min(rest.size(), text.size());
        if (text.substr(0, n) != rest.substr(0, n)) continue;
        if (n == rest.size()) {
            stars(bytes.first(n));
            masked = true;
            break;
        }
        if (begun + n > shared_prefix) return n;  // all there is: wait for more
    }

    char* at = bytes.data();
    char* const end = at + bytes.size();
    while (static_cast<std::size_t>(end - at) >= key_.size()) {
        auto* hit =
            static_cast<char*>(::memmem(at, static_cast<std::size_t>(end - at), key_.data(), key_.size()));
        if (hit == nullptr) break;
        stars({hit, key_.size()});
        masked = true;
        at = hit + key_.size();
    }
    // The longest tail that begins the key.
    std::size_t waiting = 0;
    for (std::size_t n = std::min(key_.size() - 1, bytes.size()); n > shared_prefix && waiting == 0; --n)
        if (text[text.size() - n] == key_[0] && text.substr(text.size() - n) == key_.substr(0, n))
            waiting = n;
    const auto let_through = text.substr(0, text.size() - waiting);
    passed_ += let_through.substr(let_through.size() - std::min(let_through.size(), shared_prefix));
    if (passed_.size() > shared_prefix) passed_.erase(0, passed_.size() - shared_prefix);
    return waiting;
}

bool mask_fragments(std::span<char> text, std::string_view key) noexcept
{
    if (key.size() < telling_fragment) return false;
    bool masked = false;

    // Runs of the key's own bytes: any eight consecutive ones, the public prefix apart.
    const std::size_t first = key.size() > shared_prefix + telling_fragment ? shared_prefix : 0;
    const std::string_view inner = key.substr(first);
    for (std::size_t i = 0; i + telling_fragment <= text.size();) {
        const std::string_view window(text.data() + i, telling_fragment);
        const auto found = inner.find(window);
        if (found == std::string_view::npos) {
            ++i;
            continue;
        }
        std::size_t n = telling_fragment;
        while (i + n < text.size() && found + n < inner.size() && text[i + n] == inner[found + n])
            ++n;
        stars(text.subspan(i, n));
        masked = true;
        i += n;
    }

    // Words that show the key's ends around a mask of the provider's own: "sk-proj-****wxyz", "...wxyz".
    for (std::size_t i = 0; i < text.size();) {
        if (!is_key_byte(text[i]) && !is_mask_byte(text[i])) {
            ++i;
            continue;
        }
        std::size_t end = i;
        bool has_mask = false;
        while (end < text.size() && (is_key_byte(text[end]) || is_mask_byte(text[end]))) {
            has_mask = has_mask || is_mask_byte(text[end]);
            ++end;
        }
        while (end > i && text[end - 1] == '.')
            --end;  // the sentence's own full stop
        if (end == i) {
            ++i;
            continue;
        }
        const std::string_view word(text.data() + i, end - i);
        const auto tail = common_tail(word, key);
        if (has_mask && tail >= shown_tail && tail < word.size()) {
            stars(text.subspan(end - tail, tail));
            masked = true;
        }
        if (has_mask) {
            if (const auto head = common_head(word, key); head > shared_prefix) {
                stars(text.subspan(i + shared_prefix, head - shared_prefix));
                masked = true;
            }
        }
        i = end;
    }
    return masked;
}

}  // namespace keyhole::proxy::upstream
