// Takes the session token out of wherever the orchestrator put it: SESSION_TOKEN, else a secrets file.
// TOKEN_STAYS_HOME.
#pragma once

#include "bridge/locked_bytes.hpp"

#include <string>

namespace keyhole::runtime {

enum class token_source { none, variable, file };

struct token_result {
    token_source source = token_source::none;
    std::string error;  ///< cause and remedy; empty: none
};

/// `path` is the file form's place (usually /run/secrets/session_token): a regular file of at most 512 bytes;
/// links lead to it only within its directory. `must_be_there`: somebody named it.
token_result take_session_token(char** envp, const std::string& path, bool must_be_there,
                                sys::locked_bytes& out);

}  // namespace keyhole::runtime
