// `keyhole-init doctor`: looks around as the agent would and says of each guarantee whether it holds. Names,
// never values: its report may be shown to anybody.
#pragma once

#include "sandbox-runtime/settings.hpp"

#include <string>
#include <vector>

namespace keyhole::runtime {

/// What PID 1 starts as its agent when the doctor is asked for.
std::vector<std::string> doctor_command(const settings& s);

/// Whether this process is to look around itself: it is that command, or the doctor was called by somebody
/// who is inside already.
bool is_examination(int argc, char** argv) noexcept;
/// 0: all ok; 1: something is broken; 64: wrong option.
int examine(int argc, char** argv, char** envp);

}  // namespace keyhole::runtime
