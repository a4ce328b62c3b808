// The bridge's command line and environment. Every mistake is an error with a remedy; nothing is guessed.
#pragma once

#include "bridge/listen.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace keyhole::bridge {

struct options {
    std::string socket = "/llm-sock/llm.sock";
    std::vector<listen_address> listen;  ///< empty with listen_fds: the init has bound them
    std::vector<int> listen_fds;
    int token_fd = -1;
    int ready_fd = -1;
    int parent = 0;  ///< the process that must stay alive; 0: none
    int probe_seconds =
        -1;  ///< at start, wait this long for the proxy and report it with the ready byte; -1: don't look
    int connect_wait_ms = 5000;  ///< how long a connection waits for an absent proxy before its 503
    int drain_ms = 10'000;       ///< after SIGTERM
    std::uint32_t max_connections = 16'384;
    bool hand_off = true;      ///< pass accepted sockets to the proxy where it takes them; else relay
    bool any_address = false;  ///< other addresses than loopback were asked for explicitly
};

enum class parse_result { run, help, version, wrong };

/// `environment` is the process's own: LLM_PROXY_SOCKET and LLM_PROXY_PORT. On `wrong`, `error` says which
/// word and why.
parse_result parse_options(int argc, char** argv, char** environment, options& out, std::string& error);

extern const char help_text[];

}  // namespace keyhole::bridge
