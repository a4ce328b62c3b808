// Opening a file of a directory that somebody else filled. Start-up only.
#pragma once

#include "bridge/system.hpp"

#include <string>

namespace keyhole::runtime {

/// For reading. Kubernetes makes each secret a link to ..data/NAME, so links are followed, but never out of
/// the directory (EXDEV) and never through /proc (ELOOP); a FIFO does not hang. Empty with errno.
sys::unique_fd open_beneath(int directory, const std::string& name) noexcept;

}  // namespace keyhole::runtime
