// A label that may take so many values and no more, whatever reaches it. Thread rule: its owner's.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <string_view>

namespace keyhole::metering {

class closed_set {
public:
    explicit closed_set(std::size_t most) : most_(most) {}
    std::string admit(std::string_view value)
    {
        if (value.empty()) return "other";
        const auto known = seen_.find(value);
        if (known != seen_.end()) return *known;
        if (seen_.size() >= most_) return "other";
        return *seen_.emplace(value).first;
    }

private:
    std::size_t most_;
    std::set<std::string, std::less<>> seen_;
};

}  // namespace keyhole::metering
