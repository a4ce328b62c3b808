#include "bench/mock/script.hpp"

#include <algorithm>
#include <charconv>

namespace keyhole::bench {

bool parse_script(std::string_view text, script& out) noexcept
{
    out = {};
    while (!text.empty()) {
        const auto end = std::min(text.find(' '), text.size());
        const auto word = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        if (word.empty()) continue;
        const auto equals = word.find('=');
        if (equals == std::string_view::npos) return false;
        const auto name = word.substr(0, equals);
        const char* const last = word.data() + word.size();
        double number = 0;
        const auto [stop, ec] = std::from_chars(word.data() + equals + 1, last, number);
        if (ec != std::errc{} || stop != last || number < 0 || number > 1e9) return false;
        if (name == "events")
            out.events = static_cast<std::uint64_t>(number);
        else if (name == "rate")
            out.period_ns = number > 0 ? static_cast<std::int64_t>(1e9 / number) : 0;
        else
            return false;
    }
    return true;
}

}  // namespace keyhole::bench
