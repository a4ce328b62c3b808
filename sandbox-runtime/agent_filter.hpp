// The system calls that an agent without a network has no use for, refused by a seccomp filter of our own: an
// engine's profile may be old, off, or not ours to choose. Installed by the agent's process on itself, before
// it executes the agent; needs no privilege but no_new_privs. Inherited by all that the agent starts.
#pragma once

namespace keyhole::runtime {

enum class filter_result {
    installed,
    unsupported,  ///< this kernel or emulator has no seccomp filters
    failed,       ///< errno says why
};

/// Refused afterwards:
/// sockets but unix, TCP, UDP and route netlink (so no vsock, AF_ALG, raw or packet sockets); io_uring; the
/// kernel's keyrings; new namespaces; mounting; bpf, perf, userfaultfd; modules; pushing input into a
/// terminal; the 32-bit and x32 call tables.
filter_result install_agent_filter() noexcept;

}  // namespace keyhole::runtime
