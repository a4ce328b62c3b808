// The client side of `keyhole session …`, `keyhole account …`, `keyhole usage …`, `keyhole status`: talks to
// the admin socket.
#pragma once

namespace CLI {
class App;
}

namespace keyhole::proxy::cli {

/// Adds the commands to `app`. A command that runs leaves its exit code (0 done, 1 refused or failed) in
/// `exit_code`.
void register_commands(CLI::App& app, int& exit_code);

}  // namespace keyhole::proxy::cli
