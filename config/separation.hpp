// Keys, configuration, state and sockets never share a directory: an agents' socket directory is mounted into
// sandboxes whole, with everything in and below it (NO_WAY_AROUND, KEY_STAYS_HOME). Looks at the file system
// (symbolic links); start-up only.
#pragma once

#include "config/node.hpp"
#include "config/secret_source.hpp"

#include <string>
#include <vector>

namespace keyhole::config {

void check_separation(const settings& s, const std::string& config_file,
                      const std::vector<secret_source::file>& secret_files, const node& root, findings& out);

/// No two listeners on one address or path.
void check_listeners(const settings& s, const node& root, findings& out);

}  // namespace keyhole::config
