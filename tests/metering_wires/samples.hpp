// Small answers of every wire, made up for the tests, with what they must be read as.
#pragma once

#include "metering/meter.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace keyhole::metering {

inline void PrintTo(const token_counts& c, std::ostream* out)
{
    *out << "{in " << c.input << ", read " << c.cache_read << ", 5m " << c.cache_write_5m << ", 1h "
         << c.cache_write_1h << ", out " << c.output << ", reasoning " << c.output_reasoning << ", audio "
         << c.input_audio << '/' << c.output_audio << ", image " << c.input_image << '/' << c.output_image
         << ", searches " << c.web_searches << '}';
}

namespace samples {

struct sample {
    std::string_view name;
    wire format;
    std::string_view content_type;
    std::string body;
    token_counts counts;
    usage_source source = usage_source::provider;
    bool terminal = true;
    std::string_view model = {};
    std::uint64_t text_bytes = 0;
};

inline void PrintTo(const sample& s, std::ostream* out)
{
    *out << s.name;
}

/// An event-stream message with correct checksums.
std::string message(std::string_view event_type, std::string_view payload,
                    std::string_view message_type = "event");
std::string base64(std::string_view bytes);

const std::vector<sample>& all();

}  // namespace samples
}  // namespace keyhole::metering
