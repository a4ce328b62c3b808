// PID 1's life while the agent runs: forwards signals, reaps whatever ends, keeps the bridge alive, and
// clears up afterwards. Sleeps until a signal comes; an idle sandbox wakes it never.
#pragma once

#include "bridge/system.hpp"
#include "sandbox-runtime/agent_process.hpp"
#include "sandbox-runtime/bridge_process.hpp"

namespace keyhole::runtime {

/// Blocks every signal that can be blocked and returns a descriptor that reads them.
sys::unique_fd catch_signals() noexcept;

/// Until the agent has ended and its leftovers are gone. The agent's exit code, 128+n for signal n.
/// The second SIGTERM from outside is a SIGKILL to the agent.
int supervise(pid_t agent, bridge_process& bridge, const terminal& tty, const settings& s);

/// Ends everything but this process: SIGTERM, then after the grace SIGKILL. Where this process may signal
/// nobody, the kernel does it when it ends.
void clear_up(pid_t agent, bridge_process& bridge, const settings& s, int grace_ms);

}  // namespace keyhole::runtime
