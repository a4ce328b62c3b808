// The session token's files, whatever they are called: one of them is read, none stays for the agent to read.
// TOKEN_STAYS_HOME. Start-up only.
#pragma once

#include "bridge/locked_bytes.hpp"
#include "sandbox-runtime/session_token.hpp"
#include "sandbox-runtime/settings.hpp"

#include <string>
#include <string_view>

namespace keyhole::runtime {

/// SESSION_TOKEN, the file that is named or usual, or else one of the secrets that can only be meant as it
/// (session-token).
token_result find_session_token(char** envp, const settings& s, sys::locked_bytes& token);

/// Removes what the agent could read: the file that is named or usual, and every secret that is the token's
/// by its name or holds it, wherever the token came from. The path of one that stays open, or nothing.
std::string hide_token_files(const settings& s, std::string_view token);

}  // namespace keyhole::runtime
