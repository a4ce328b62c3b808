// Becoming somebody else for good, and proving it. Every step that fails is the caller's reason to stop: a
// drop that "nearly" worked is root.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace keyhole::runtime {

struct identity {
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    std::vector<std::uint32_t> groups;  ///< supplementary
    bool change = true;                 ///< false: one uid for everything; only capabilities go
};

/// The step that failed, with errno set, or nullptr. Afterwards: these ids, these groups, no capability in
/// any set that can be emptied, no way to gain one (no_new_privs).
const char* drop_to(const identity& who) noexcept;

/// Reads back what drop_to() claims and tries to undo it. The claim that is false, or nullptr.
const char* verify_dropped(const identity& who) noexcept;

/// PID 1 from here on: signals to other uids, and changing ids, for its children. All that it starts inherits
/// the empty bounding set.
void keep_only_supervising_capabilities() noexcept;

/// Which of the capabilities that becoming another user takes are missing: "SETUID SETGID", or empty.
std::string missing_to_change_user();
/// Whether this process may signal processes of other uids.
bool has_kill_capability() noexcept;

}  // namespace keyhole::runtime
