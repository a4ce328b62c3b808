#include "bridge/json_text.hpp"

namespace keyhole::sys {

void append_json_text(std::string& out, std::string_view text)
{
    constexpr char hex[] = "0123456789abcdef";
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (byte < 0x20 || byte >= 0x7F) {
            out += "\\u00";
            out += hex[byte >> 4];
            out += hex[byte & 15];
        } else
            out += c;
    }
}

}  // namespace keyhole::sys
