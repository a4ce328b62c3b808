// The running proxy: state on disk, workers, listeners, the control plane, signals. Read run() for the life
// of the process.
#pragma once

#include "config/config.hpp"
#include "config/load.hpp"

namespace keyhole::proxy {

/// Serves until SIGTERM or SIGINT (the second ends at once); SIGHUP loads `from` again without dropping a
/// connection. Returns the process's exit code. Throws std::runtime_error (cause and remedy) when it cannot
/// start.
int serve(config::settings settings, const config::sources& from);

/// Makes this process's memory unreadable for others: no core dumps, not ptraceable by its own uid
/// (KEY_STAYS_HOME). Called before the first secret is read.
void guard_process() noexcept;

}  // namespace keyhole::proxy
