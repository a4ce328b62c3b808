// Is the agent's end of a loopback connection still open? A FIN says only that it will not send; a process
// that closed its socket or died sends the same FIN as one that waits for the answer. The kernel knows: a
// socket without an owner has inode 0.
#pragma once

#include "bridge/system.hpp"

namespace keyhole::bridge {

class agent_side {
public:
    /// Without netlink (gVisor, strict seccomp profiles) the table in /proc is read instead.
    explicit agent_side(bool with_netlink = true) noexcept;

    /// True when the other end of this accepted TCP connection is owned by nobody any more. False when it is
    /// alive, or when this cannot be known (a peer that is not on loopback, no netlink and no /proc).
    bool is_orphan(int tcp_fd) noexcept;

private:
    sys::unique_fd netlink_;
};

}  // namespace keyhole::bridge
