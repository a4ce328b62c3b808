// Which files and sockets this process can still open (Landlock): best effort, since kernels before 5.13 and
// many container engines' filters have none. Thread rule: before there are threads.
#pragma once

namespace keyhole::sys {

/// From here on nothing can be opened but /proc, for reading, and no TCP connection or listening socket be
/// made; sockets in the file system can be connected to as before, abstract ones of other programs
/// (Linux 6.12) cannot. Needs no_new_privs. False: this kernel has no Landlock, or may not be asked; nothing
/// has changed.
bool forbid_files() noexcept;

}  // namespace keyhole::sys
