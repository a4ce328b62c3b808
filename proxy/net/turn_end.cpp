#include "proxy/net/turn_end.hpp"

#include <boost/asio/post.hpp>

#include <algorithm>

namespace keyhole::proxy {

task<> turn_end::wait()
{
    most_ = std::max(most_, ++waiting_);
    co_await asio::post(loop_, asio::use_awaitable_t<executor>{});
    if (--waiting_ != 0) co_return;
    lone_ = most_ > 1 ? 0 : lone_ + 1;
    if (most_ > 1)
        together_ = true;
    else if (lone_ >= lone_turns)
        together_ = false;
    most_ = 0;
}

}  // namespace keyhole::proxy
