#include "metering/base64.hpp"

#include <array>

namespace keyhole::metering {

namespace {

constexpr std::array<std::int8_t, 256> make_values()
{
    std::array<std::int8_t, 256> values{};
    values.fill(-1);
    std::int8_t next = 0;
    for (char c = 'A'; c <= 'Z'; ++c)
        values[static_cast<unsigned char>(c)] = next++;
    for (char c = 'a'; c <= 'z'; ++c)
        values[static_cast<unsigned char>(c)] = next++;
    for (char c = '0'; c <= '9'; ++c)
        values[static_cast<unsigned char>(c)] = next++;
    values['+'] = values['-'] = 62;
    values['/'] = values['_'] = 63;
    return values;
}

constexpr auto values = make_values();

}  // namespace

void base64_decoder::decode(std::string_view piece, std::string& out)
{
    for (const char c : piece) {
        const auto value = values[static_cast<unsigned char>(c)];
        if (value < 0) continue;
        bits_ = bits_ << 6 | static_cast<std::uint32_t>(value);
        count_ += 6;
        if (count_ < 8) continue;
        count_ -= 8;
        out.push_back(static_cast<char>(static_cast<unsigned char>(bits_ >> count_ & 0xff)));
    }
}

}  // namespace keyhole::metering
