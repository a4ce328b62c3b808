#include "sandbox-runtime/argument_list.hpp"

#include <cstdint>

namespace keyhole::runtime {
namespace {

/// Just enough JSON for an array of strings. Every take_…() is false where the text is something else.
class reader {
public:
    explicit reader(std::string_view text) : rest_(text) {}

    bool take_array(std::vector<std::string>& out)
    {
        if (!take('[')) return false;
        if (take(']')) return at_end();
        do {
            std::string word;
            if (!take_string(word)) return false;
            out.push_back(std::move(word));
        } while (take(','));
        return take(']') && at_end();
    }

private:
    void skip_blanks()
    {
        const std::size_t n = rest_.find_first_not_of(" \t\r\n");
        rest_.remove_prefix(n == std::string_view::npos ? rest_.size() : n);
    }
    bool at_end()
    {
        skip_blanks();
        return rest_.empty();
    }
    bool take(char wanted)
    {
        skip_blanks();
        return take_now(wanted);
    }
    bool take_now(char wanted)
    {
        if (rest_.empty() || rest_.front() != wanted) return false;
        rest_.remove_prefix(1);
        return true;
    }

    bool take_string(std::string& out)
    {
        if (!take('"')) return false;
        while (!rest_.empty()) {
            const char c = rest_.front();
            rest_.remove_prefix(1);
            if (c == '"') return true;
            if (static_cast<unsigned char>(c) < 0x20) return false;
            if (c != '\\')
                out += c;
            else if (!take_escape(out))
                return false;
        }
        return false;
    }

    bool take_escape(std::string& out)
    {
        constexpr std::string_view letters = "\"\\/bfnrt";
        constexpr std::string_view meanings = "\"\\/\b\f\n\r\t";
        if (rest_.empty()) return false;
        const char c = rest_.front();
        rest_.remove_prefix(1);
        if (c != 'u') {
            const std::size_t at = letters.find(c);
            if (at != std::string_view::npos) out += meanings[at];
            return at != std::string_view::npos;
        }
        std::uint32_t code = 0;
        if (!take_hex(code)) return false;
        if (code >= 0xD800 && code < 0xDC00) {
            std::uint32_t low = 0;
            if (!take_now('\\') || !take_now('u') || !take_hex(low) || low < 0xDC00 || low > 0xDFFF)
                return false;
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        } else if (code >= 0xDC00 && code <= 0xDFFF)
            return false;
        // No argument can hold it.
        if (code == 0) return false;
        append_utf8(code, out);
        return true;
    }

    bool take_hex(std::uint32_t& out)
    {
        constexpr std::string_view digits = "0123456789abcdef";
        if (rest_.size() < 4) return false;
        for (int i = 0; i < 4; ++i) {
            const char c = rest_.front();
            const std::size_t value =
                digits.find(c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c);
            if (value == std::string_view::npos) return false;
            out = (out << 4) | static_cast<std::uint32_t>(value);
            rest_.remove_prefix(1);
        }
        return true;
    }

    static void append_utf8(std::uint32_t code, std::string& out)
    {
        const auto last_bits = [code](unsigned shift) {
            return static_cast<char>(0x80 | ((code >> shift) & 0x3F));
        };
        if (code < 0x80)
            out += static_cast<char>(code);
        else if (code < 0x800) {
            out += static_cast<char>(0xC0 | (code >> 6));
            out += last_bits(0);
        } else if (code < 0x10000) {
            out += static_cast<char>(0xE0 | (code >> 12));
            out += last_bits(6);
            out += last_bits(0);
        } else {
            out += static_cast<char>(0xF0 | (code >> 18));
            out += last_bits(12);
            out += last_bits(6);
            out += last_bits(0);
        }
    }

    std::string_view rest_;
};

}  // namespace

std::optional<std::vector<std::string>> read_argument_list(std::string_view text)
{
    std::vector<std::string> words;
    const std::size_t first = text.find_first_not_of(" \t\n");
    if (first != std::string_view::npos && text[first] == '[') {
        if (!reader(text).take_array(words)) return std::nullopt;
        return words;
    }
    while (!text.empty()) {
        const std::size_t end = text.find_first_of(" \t\n");
        if (end != 0) words.emplace_back(text.substr(0, end));
        if (end == std::string_view::npos) break;
        text.remove_prefix(end + 1);
    }
    return words;
}

}  // namespace keyhole::runtime
