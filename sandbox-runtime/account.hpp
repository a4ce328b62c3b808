// What a login would have given the agent: a home that it can write, a name, and the variables that say so.
// Without a set-user-id helper and without walking anybody's files: a home is taken as it is, or made in a
// temporary directory; where KEYHOLE_ADOPT asks for it and PID 1 may, the agent's uid gets its line in
// /etc/passwd and its home directory. Start-up only.
#pragma once

#include "sandbox-runtime/environment.hpp"
#include "sandbox-runtime/settings.hpp"

namespace keyhole::runtime {

/// Sets HOME, USER, LOGNAME, SHELL and PATH. Says on stderr what could not be had, and why. Call before
/// privileges go.
void settle_account(settings& s, environment& env);

}  // namespace keyhole::runtime
