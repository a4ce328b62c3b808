// The agent's name where programs look one up: a line in /etc/passwd, or, where that file is read-only and
// the image has glibc's module for them, in a file of extra users that lies on a tmpfs (the Debian package
// libnss-extrausers). USER says it to all others. Start-up only.
#pragma once

#include "sandbox-runtime/settings.hpp"

#include <string>
#include <string_view>

namespace keyhole::runtime {

/// The file that glibc's module for extra users reads.
inline constexpr const char* extra_users_file = "/var/lib/extrausers/passwd";

/// Gives the agent's uid a name if `passwd` has none for it, and a line where that can be done; says on
/// stderr what could not, why, and what would help. Call before privileges go, with the agent's home settled.
void settle_name(settings& s, std::string_view passwd);

/// For PID 1 as root, before anything of the agent's runs: the place of extra users, which our images have on
/// a tmpfs that is everybody's, is made and root's, so that nobody else says there who is who. Says on stderr
/// where it cannot be had.
void occupy_extra_users();

/// One line of a passwd file; empty when a part cannot stand in one.
std::string passwd_line(const account& who);

/// "the file system is read-only", "Permission denied".
std::string reason_of(int error);

}  // namespace keyhole::runtime
