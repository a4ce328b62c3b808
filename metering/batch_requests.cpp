#include "metering/batch_requests.hpp"

#include "metering/json_scan.hpp"

namespace keyhole::metering {

namespace {

using each_params = std::function<bool(std::string_view)>;

bool read_request(json_cursor& at, const each_params& each)
{
    if (at.done() || at.peek() != '{') return false;
    return at.read_members([&](const json_member& member) {
        const bool params = json_key_is(member.key, "params");
        const std::size_t begin = at.offset();
        return at.skip_value() && (!params || each(at.since(begin)));
    });
}

bool read_requests(json_cursor& at, const each_params& each)
{
    if (at.done() || at.peek() != '[') return false;
    return at.read_elements([&] { return read_request(at, each); });
}

}  // namespace

bool each_batch_request(std::string_view body, const each_params& each)
{
    json_cursor at{body};
    at.skip_space();
    if (at.done() || at.peek() != '{') return false;
    const bool whole = at.read_members([&](const json_member& member) {
        return json_key_is(member.key, "requests") ? read_requests(at, each) : at.skip_value();
    });
    return whole && !at.faulty();
}

}  // namespace keyhole::metering
