// PID 1's life while the agent runs: forwards signals, reaps whatever ends, keeps the bridge alive, and
// clears up afterwards. Sleeps in poll() on a signalfd; an idle sandbox wakes it never.
#pragma once

#include "bridge/system.hpp"
#include "sandbox-runtime/agent_process.hpp"
#include "sandbox-runtime/bridge_process.hpp"

namespace keyhole::runtime {

/// Blocks every signal that can be forwarded and returns a descriptor that reads them.
sys::unique_fd catch_signals() noexcept;

/// Until the agent has ended and its leftovers are gone. The agent's exit code, 128+n for signal n.
int supervise(pid_t agent, bridge_process& bridge, int signal_fd, const terminal& tty, const settings& s);

/// Ends everything but this process: SIGTERM, then after the grace SIGKILL.
void clear_up(pid_t agent, bridge_process& bridge, int signal_fd, int grace_ms);

}  // namespace keyhole::runtime
