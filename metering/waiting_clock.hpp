// The clock that waits are timed by: one that nobody sets, so a wall clock that is put back holds nothing up.
#pragma once

#include <chrono>

namespace keyhole::metering {

#if defined(__SANITIZE_THREAD__)
// g++ 12's ThreadSanitizer doesn't know pthread_cond_clockwait(), and takes its mutex for held.
using waiting_clock = std::chrono::system_clock;
#else
using waiting_clock = std::chrono::steady_clock;
#endif

}  // namespace keyhole::metering
