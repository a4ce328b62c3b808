// /run/secrets as the agent's variables: each file's name is a variable's, or a `manifest` says which. These
// are secrets that the agent is meant to have; the session's token is not among them. Start-up only.
#pragma once

#include "sandbox-runtime/environment.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace keyhole::runtime {

/// "github-token" -> "GITHUB_TOKEN". Empty when no variable can be called so.
std::string variable_of(std::string_view file_name);

/// Paths of the directory's files that are the session token's: those that would be the variable
/// SESSION_TOKEN (session_token, session-token; where there is a manifest, what it calls so), and those that
/// hold `token`, if it is not empty. Every path once.
std::vector<std::string> find_token_files(const std::string& directory, std::string_view token);

/// Sets what the directory holds and the environment has not. Every file that is left out is a sentence in
/// the result: cause and remedy, never content. A directory that is not there is no secrets.
std::vector<std::string> load_secrets(environment& env, const std::string& directory);

}  // namespace keyhole::runtime
