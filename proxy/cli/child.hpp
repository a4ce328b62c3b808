// Runs a program in the foreground as a shell would and returns what it returned. While it runs, the
// terminal's interrupts are the child's alone, and what asks this process to end is passed on. Thread rule:
// the main thread of a program without others.
#pragma once

#include <string>
#include <vector>

namespace keyhole::proxy::cli {

/// 0…255: its exit status, 128+n when signal n ended it, 127 when it could not be found, 126 when it could
/// not be run. Throws std::runtime_error when no process could be made.
int run_child(const std::vector<std::string>& arguments, const std::vector<std::string>& environment);

/// Whether PATH has that program.
bool is_in_path(const std::string& program);

}  // namespace keyhole::proxy::cli
