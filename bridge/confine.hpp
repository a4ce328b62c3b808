// What is left to the bridge once it serves: the system calls of its loop, unix sockets only, no program to
// start. A defence in depth for a process that reads bytes of a hostile agent and holds its session's token.
// One thread, at the end of start-up.
#pragma once

namespace keyhole::sys {

/// Needs no_new_privs. False where the kernel has no seccomp filters (or an emulator none): the bridge works
/// without.
bool allow_only_serving() noexcept;

}  // namespace keyhole::sys
