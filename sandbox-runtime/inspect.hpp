// `keyhole-init --check`: looks around as the agent would, prints what there is (names, never values), and
// says what should not be.
#pragma once

#include <cstdint>
#include <string>

namespace keyhole::runtime {

/// Runs as the agent, in its environment and with its descriptors. 0: nothing leaks; 1: something does.
int inspect(char** envp, const std::string& socket, std::uint16_t port);

}  // namespace keyhole::runtime
