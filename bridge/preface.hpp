// The PROXY protocol v2 header that opens a connection to the proxy when the bridge holds a session token:
// version 2, command PROXY, family UNSPEC, and one TLV of type 0xE0 whose value is the token. A way to
// present a token, nothing more.
#pragma once

#include "bridge/locked_bytes.hpp"

#include <string_view>

namespace keyhole::bridge {

/// Fills `out` (emptied first) with the header for `token`. False when the token is not one or `out` has no
/// memory.
bool write_preface(std::string_view token, sys::locked_bytes& out) noexcept;

/// The same for a hand-off channel: its command (2) is none of PROXY v2's, so that whoever does not know it
/// drops the connection at once. `token` may be empty.
bool write_greeting(std::string_view token, sys::locked_bytes& out) noexcept;

}  // namespace keyhole::bridge
