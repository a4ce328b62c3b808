// `keyhole check`: is everything in order? One line each: ok, or why not and what to do.
#pragma once

#include "config/config.hpp"

namespace keyhole::proxy {

/// Prints to stdout; returns 0 when nothing stands in the way of `keyhole serve`, else 1. Starts, binds and
/// changes nothing.
int check(const config::settings& settings, bool offline);

}  // namespace keyhole::proxy
