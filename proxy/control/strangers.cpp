#include "proxy/control/strangers.hpp"

#include <string>
#include <utility>

namespace keyhole::proxy {

void strangers::refused(std::string_view peer, std::chrono::steady_clock::time_point now)
{
    ++since_;
    if (now < next_) return;
    next_ = now + std::chrono::seconds(1);
    const std::string attempts = std::to_string(std::exchange(since_, 0));
    log_.warn("refused at the admin API: no right to it", {{"peer", peer}, {"attempts", attempts}});
}

}  // namespace keyhole::proxy
