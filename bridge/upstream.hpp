// Connecting to the proxy's unix socket. The path is resolved anew for each connection: a restarted proxy is
// a new inode.
#pragma once

#include "bridge/system.hpp"

#include <string>
#include <string_view>

namespace keyhole::bridge {

/// Non-blocking and connected, or empty with errno set. Any path length (sun_path holds 107 bytes; longer
/// ones go through /proc/self/fd).
sys::unique_fd connect_upstream(const std::string& path) noexcept;

/// Whether waiting can help: absent, refused or overloaded. A wrong permission does not cure itself.
bool is_worth_waiting(int error) noexcept;

/// What is wrong with the socket and what to do, for a person. `code` is a stable word for programs.
struct upstream_problem {
    std::string_view code;
    std::string cause;
    std::string remedy;
};
/// It ended with a request unanswered.
extern const upstream_problem proxy_went_away;
upstream_problem explain_upstream(const std::string& path, int error);

/// The directory on the way to `path` that this process may not search.
struct barrier {
    std::string directory;  ///< empty: there is none
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    std::uint32_t mode = 0;

    /// Whether being in its group is enough.
    bool opens_for_group() const noexcept { return (mode & 010) != 0 && gid != 0; }
    /// "/llm-sock (owner 997:997, mode 0750)"
    std::string described() const;
};
barrier find_barrier(const std::string& path);

}  // namespace keyhole::bridge
