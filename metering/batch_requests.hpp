// The single requests inside a batch's body (Anthropic's {"requests":[{"custom_id":…,"params":{…}}]}), found
// without building a tree. Thread rule: pure.
#pragma once

#include <functional>
#include <string_view>

namespace keyhole::metering {

/// Calls `each` with the JSON of every request's params, in order; stops where it returns false. False: the
/// body could not be read to its end, so it may hold more.
bool each_batch_request(std::string_view body, const std::function<bool(std::string_view params)>& each);

}  // namespace keyhole::metering
