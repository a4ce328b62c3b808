// The kernel's word on who is at the other end of a socket. Thread rule: any thread.
#pragma once

#include <string>

namespace keyhole::proxy {

/// Of a unix socket: root, or our own user.
bool peer_is_administrator(int descriptor) noexcept;

/// For a log line: "192.0.2.7:50312", "[::1]:50312", of a unix socket "uid 1000, pid 4711"; "unknown" where
/// the kernel does not say.
std::string peer_in_words(int descriptor);

}  // namespace keyhole::proxy
