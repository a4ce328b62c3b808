#include "metering/request_facts.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

namespace keyhole::metering {
namespace {

constexpr std::size_t blob_threshold = 4 * 1024;
constexpr std::size_t longest_model = 256;
constexpr std::size_t deepest_nesting = 4096;
constexpr std::int64_t tokens_of_a_blob = 2000;

enum class member : std::uint8_t {
    none,
    model,
    stream,
    max_tokens,
    max_completion_tokens,
    max_output_tokens,
    n,
    best_of,
    stream_options,
    service_tier,
    include_usage
};

constexpr std::array<std::pair<std::string_view, member>, 9> top_members{
    {{"model", member::model},
     {"stream", member::stream},
     {"max_tokens", member::max_tokens},
     {"max_completion_tokens", member::max_completion_tokens},
     {"max_output_tokens", member::max_output_tokens},
     {"n", member::n},
     {"best_of", member::best_of},
     {"stream_options", member::stream_options},
     {"service_tier", member::service_tier}}};

int hex(char c) noexcept
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/// A JSON string's value. Only used for keys and short values, and only where a backslash was seen.
std::string unescape(std::string_view raw)
{
    std::string out;
    const auto put = [&](std::uint32_t c) {
        if (c < 0x80)
            out += static_cast<char>(c);
        else if (c < 0x800) {
            out += static_cast<char>(0xC0U | (c >> 6U));
            out += static_cast<char>(0x80U | (c & 0x3FU));
        } else if (c < 0x10000) {
            out += static_cast<char>(0xE0U | (c >> 12U));
            out += static_cast<char>(0x80U | ((c >> 6U) & 0x3FU));
            out += static_cast<char>(0x80U | (c & 0x3FU));
        } else {
            out += static_cast<char>(0xF0U | (c >> 18U));
            out += static_cast<char>(0x80U | ((c >> 12U) & 0x3FU));
            out += static_cast<char>(0x80U | ((c >> 6U) & 0x3FU));
            out += static_cast<char>(0x80U | (c & 0x3FU));
        }
    };
    const auto unit = [&](std::size_t at, std::uint32_t& into) {
        if (at + 4 > raw.size()) return false;
        into = 0;
        for (std::size_t i = 0; i < 4; ++i) {
            const int d = hex(raw[at + i]);
            if (d < 0) return false;
            into = into * 16 + static_cast<std::uint32_t>(d);
        }
        return true;
    };
    for (std::size_t i = 0; i < raw.size(); ++i) {
        if (raw[i] != '\\' || i + 1 == raw.size()) {
            out += raw[i];
            continue;
        }
        const char c = raw[++i];
        constexpr std::string_view from = "bfnrt";
        constexpr std::string_view to = "\b\f\n\r\t";
        std::uint32_t code = 0;
        if (const auto at = from.find(c); at != std::string_view::npos)
            out += to[at];
        else if (c == 'u' && unit(i + 1, code)) {
            i += 4;
            std::uint32_t low = 0;
            if (code >= 0xD800 && code < 0xDC00 && raw.substr(i + 1, 2) == "\\u" && unit(i + 3, low) &&
                low >= 0xDC00 && low < 0xE000)
            {
                code = 0x10000 + ((code - 0xD800) << 10U) + (low - 0xDC00);
                i += 6;
            }
            put(code);
        } else
            out += c;
    }
    return out;
}

/// One pass over the body. Positions are offsets; nothing is copied but the few values that are kept.
class scanner {
public:
    explicit scanner(std::string_view body) : s_(body) {}

    request_facts run()
    {
        space();
        if (at_ == s_.size() || s_[at_] != '{') {
            f_.text_bytes = s_.size();
            return std::move(f_);
        }
        f_.is_object = true;
        f_.object_open = at_;
        f_.complete = object(true) && (space(), at_ == s_.size());
        f_.text_bytes = s_.size() - blob_bytes_;
        return std::move(f_);
    }

private:
    void space() noexcept
    {
        while (at_ < s_.size() && (s_[at_] == ' ' || s_[at_] == '\n' || s_[at_] == '\r' || s_[at_] == '\t'))
            ++at_;
    }

    bool take(char c) noexcept
    {
        space();
        if (at_ == s_.size() || s_[at_] != c) return false;
        ++at_;
        return true;
    }

    /// Reads over a string; `raw` is what stands between its quotes.
    bool string(std::string_view& raw, bool& escaped) noexcept
    {
        if (!take('"')) return false;
        const std::size_t begin = at_;
        escaped = false;
        while (true) {
            const auto* quote = static_cast<const char*>(std::memchr(s_.data() + at_, '"', s_.size() - at_));
            if (quote == nullptr) {
                at_ = s_.size();
                return false;
            }
            const auto end = static_cast<std::size_t>(quote - s_.data());
            if (!escaped) escaped = std::memchr(s_.data() + at_, '\\', end - at_) != nullptr;
            std::size_t slashes = 0;
            while (end - slashes > begin && s_[end - slashes - 1] == '\\')
                ++slashes;
            at_ = end + 1;
            if (slashes % 2 == 0) {
                raw = s_.substr(begin, end - begin);
                note_blob(raw);
                return true;
            }
        }
    }

    /// Images, audio and files stand in a prompt as long strings without a space: they cost by other rules
    /// than text.
    void note_blob(std::string_view raw) noexcept
    {
        if (raw.size() <= blob_threshold) return;
        if (raw.substr(0, blob_threshold).find_first_of(" \t") != std::string_view::npos) return;
        if (std::memchr(raw.data(), ' ', raw.size()) != nullptr ||
            std::memchr(raw.data(), '\\', raw.size()) != nullptr)
            return;
        ++f_.blobs;
        blob_bytes_ += raw.size();
    }

    /// Reads over any value. Nesting costs no stack: brackets are only counted (the provider judges whether
    /// they match).
    bool skip() noexcept
    {
        std::size_t depth = 0;
        while (true) {
            space();
            if (at_ == s_.size()) return false;
            const char c = s_[at_];
            if (c == '"') {
                std::string_view raw;
                bool escaped = false;
                if (!string(raw, escaped)) return false;
            } else if (c == '{' || c == '[') {
                if (++depth > deepest_nesting) return false;
                ++at_;
                continue;
            } else if (c == '}' || c == ']') {
                if (depth == 0) return false;
                --depth;
                ++at_;
            } else if (c == ',' || c == ':') {
                if (depth == 0) return false;
                ++at_;
                continue;
            } else {
                const auto begin = at_;
                while (at_ < s_.size() &&
                       std::string_view(" \t\r\n,:]}[{\"").find(s_[at_]) == std::string_view::npos)
                    ++at_;
                if (at_ == begin) return false;
            }
            if (depth == 0) return true;
        }
    }

    static member member_of(std::string_view key, bool top) noexcept
    {
        if (!top) return key == "include_usage" ? member::include_usage : member::none;
        for (const auto& [name, m] : top_members)
            if (name == key) return m;
        return member::none;
    }

    void seen(member m, std::string_view key)
    {
        const auto bit = 1U << static_cast<unsigned>(m);
        if (m != member::none && (seen_ & bit) != 0 && f_.ambiguous_member.empty()) f_.ambiguous_member = key;
        seen_ |= bit;
    }

    /// An object whose members matter: the document, or stream_options in it.
    bool object(bool top)
    {
        if (!take('{')) return false;
        if (take('}')) return true;
        while (true) {
            std::string_view raw;
            bool escaped = false;
            if (!string(raw, escaped) || !take(':')) return false;
            const std::string decoded = escaped ? unescape(raw) : std::string();
            const std::string_view key = escaped ? std::string_view(decoded) : raw;
            const auto m = member_of(key, top);
            seen(m, key);
            space();
            const auto begin = at_;
            if (!value(m)) return false;
            note(m, begin);
            if (take(',')) continue;
            return take('}');
        }
    }

    bool value(member m)
    {
        if (m == member::stream_options && at_ < s_.size() && s_[at_] == '{') {
            f_.stream_options_open = at_;
            const auto begin = at_ + 1;
            if (!object(false)) return false;
            f_.stream_options_empty =
                s_.substr(begin, at_ - 1 - begin).find_first_not_of(" \t\r\n") == std::string_view::npos;
            return true;
        }
        return skip();
    }

    std::optional<std::string> text(std::string_view written) const
    {
        if (written.size() < 2 || written.front() != '"') return std::nullopt;
        const auto raw = written.substr(1, written.size() - 2);
        return raw.find('\\') == std::string_view::npos ? std::string(raw) : unescape(raw);
    }

    static std::optional<std::int64_t> count(std::string_view written) noexcept
    {
        std::int64_t n = 0;
        const auto [end, ec] = std::from_chars(written.data(), written.data() + written.size(), n);
        if (ec != std::errc{} || end != written.data() + written.size() || n < 0) return std::nullopt;
        return n;
    }

    void note(member m, std::size_t begin)
    {
        auto written = s_.substr(begin, at_ - begin);
        switch (m) {
        case member::model:
            if (auto t = text(written)) {
                if (t->size() > longest_model) {
                    t->resize(longest_model);
                    f_.ambiguous_member = "model";
                }
                f_.model = std::move(*t);
            }
            break;
        case member::stream:
            f_.stream = written == "true";
            break;
        case member::max_tokens:
        case member::max_completion_tokens:
        case member::max_output_tokens:
            if (const auto n = count(written)) f_.max_tokens = std::max(f_.max_tokens.value_or(0), *n);
            break;
        case member::n:
        case member::best_of:
            if (const auto n = count(written)) f_.choices = std::max(f_.choices, *n);
            break;
        case member::service_tier:
            if (auto t = text(written)) {
                t->resize(std::min<std::size_t>(t->size(), 32));
                f_.service_tier = std::move(*t);
            }
            break;
        case member::stream_options:
            if (f_.stream_options_open == 0) {
                f_.stream_options_begin = begin;
                f_.stream_options_end = at_;
            }
            break;
        case member::include_usage:
            f_.include_usage = written == "true";
            f_.include_usage_begin = begin;
            f_.include_usage_end = at_;
            break;
        case member::none:
            break;
        }
    }

    std::string_view s_;
    std::size_t at_ = 0;
    std::size_t blob_bytes_ = 0;
    std::uint32_t seen_ = 0;
    request_facts f_;
};

}  // namespace

request_facts scan_request(std::string_view body)
{
    return scanner(body).run();
}

std::int64_t estimate_input_tokens(const request_facts& facts) noexcept
{
    const auto text = static_cast<std::int64_t>((facts.text_bytes + 1) / 2);
    return text + tokens_of_a_blob * static_cast<std::int64_t>(facts.blobs);
}

std::optional<body_edit> include_usage_edit(const request_facts& f) noexcept
{
    if (!f.stream || !f.complete || !f.is_object || !f.ambiguous_member.empty()) return std::nullopt;
    if (f.include_usage.value_or(false)) return std::nullopt;
    if (f.include_usage_end != 0) return body_edit{f.include_usage_begin, f.include_usage_end, "true"};
    if (f.stream_options_open != 0) {
        const auto at = f.stream_options_open + 1;
        return body_edit{at, at,
                         f.stream_options_empty ? R"("include_usage":true)" : R"("include_usage":true,)"};
    }
    if (f.stream_options_end != 0)
        return body_edit{f.stream_options_begin, f.stream_options_end, R"({"include_usage":true})"};
    const auto at = f.object_open + 1;
    return body_edit{at, at, R"("stream_options":{"include_usage":true},)"};
}

}  // namespace keyhole::metering
