// The agent as a child: another user, no privileges, its own process group (the terminal's foreground if
// there is a terminal), default signals, descriptors 0, 1 and 2.
#pragma once

#include "sandbox-runtime/environment.hpp"
#include "sandbox-runtime/settings.hpp"

#include <sys/types.h>

namespace keyhole::runtime {

class terminal {
public:
    /// Whether stdin is a terminal whose foreground is ours to give.
    terminal() noexcept;
    /// For an agent with a session of its own: the terminal is no longer this process's. Signals are blocked.
    void let_go() noexcept;
    void give_to(pid_t group) const noexcept;
    void take_back() const noexcept;

private:
    pid_t own_group_ = -1;
};

struct agent_start {
    pid_t pid = -1;
    int exit_code = 0;  ///< when it did not start
    std::string error;
};

/// Returns once the command has been executed, or has failed to be.
agent_start start_agent(const settings& s, environment& env, const terminal& tty);

}  // namespace keyhole::runtime
