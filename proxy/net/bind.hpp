// Listening sockets, agents' and administrators'. A unix socket appears under its name with its final mode
// and group at once (made beside it, then renamed); a stale file is replaced only after a connect to it
// failed, a living one is never taken over. Plain system calls. Thread rule: any one thread.
#pragma once

#include "config/config.hpp"

#include <string>
#include <string_view>
#include <sys/types.h>

namespace keyhole::proxy {

/// How a unix socket is to look, and which settings an error names.
struct socket_rights {
    unsigned mode = 0600;
    std::string group = {};               ///< empty: the process's own
    bool make_directory = false;          ///< 0700; one that exists keeps its mode
    std::string_view setting = "agents";  ///< "agents" or "admin": where the remedy is
};

struct bound_socket {
    int descriptor = -1;
    ino_t inode = 0;  ///< of the socket's file, to remove it only while it is still this one
};

/// Bound and listening. Throws std::runtime_error: which path, what is wrong, what to do.
bound_socket bind_unix(const std::string& path, const socket_rights& rights);
/// The same for a numeric address.
int bind_tcp(const config::tcp_address& at);

/// Removes the file at `path` if it is still the socket that was bound.
void remove_socket(const std::string& path, ino_t inode) noexcept;

}  // namespace keyhole::proxy
