#include "proxy/resident.hpp"

#include <cstddef>
#include <cstdint>
#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

namespace keyhole::proxy {
namespace {

/// Pages that are mapped from a file and never written to: dropping them loses nothing. Those with
/// relocations were written to, and lie in writable segments.
int drop_read_only_pages(dl_phdr_info* object, std::size_t, void*)
{
    const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    for (std::size_t i = 0; i < object->dlpi_phnum; ++i) {
        const auto& segment = object->dlpi_phdr[i];
        if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0) continue;
        const std::uintptr_t begin = (object->dlpi_addr + segment.p_vaddr) / page * page;
        const std::uintptr_t end = object->dlpi_addr + segment.p_vaddr + segment.p_memsz;
        ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
    }
    return 0;
}

}  // namespace

void tune_allocator() noexcept
{
    // Both fixed: left alone, glibc raises them to the largest block that was ever freed (a body of 100 MB),
    // and then returns nothing before twice as much is free.
    ::mallopt(M_MMAP_THRESHOLD, 1 << 20);
    ::mallopt(M_TRIM_THRESHOLD, 1 << 20);
}

void forget_start() noexcept
{
    return_freed();
    ::dl_iterate_phdr(&drop_read_only_pages, nullptr);
}

void return_freed() noexcept
{
    ::malloc_trim(0);
}

}  // namespace keyhole::proxy
