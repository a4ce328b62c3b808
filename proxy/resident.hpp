// What a process keeps in memory without needing it is given back to the kernel. Thread rule: any thread; the
// calls take milliseconds, so never a worker's.
#pragma once

namespace keyhole::proxy {

/// Sets how the allocator keeps freed memory; before the first thread starts.
void tune_allocator() noexcept;

/// Once, when everything stands: the pages of programs and libraries that only the start has read
/// (relocations, symbols, parsers). What is read again comes back from the page cache.
void forget_start() noexcept;

/// Freed memory that lies between blocks in use, after many connections have left.
void return_freed() noexcept;

}  // namespace keyhole::proxy
