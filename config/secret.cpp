#include "config/secret.hpp"

#include <openssl/crypto.h>

#include <cstring>
#include <new>
#include <sys/mman.h>
#include <unistd.h>

namespace keyhole::config {

// KEY_STAYS_HOME: pages of their own, so that locking and hiding them hides nothing else and wiping misses
// nothing.
secret::secret(std::string_view value) : size_(value.size())
{
    if (value.empty()) return;
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    mapped_ = (size_ + page - 1) / page * page;
    void* pages = ::mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) throw std::bad_alloc();
    // Hidden before the bytes are there. Each may fail (RLIMIT_MEMLOCK, old kernels): the secret works all
    // the same.
    locked_ = ::mlock(pages, mapped_) == 0;
    ::madvise(pages, mapped_, MADV_DONTDUMP);
    ::madvise(pages, mapped_, MADV_WIPEONFORK);
    bytes_ = static_cast<char*>(pages);
    std::memcpy(bytes_, value.data(), size_);
    ::mprotect(pages, mapped_, PROT_READ);
}

secret::~secret()
{
    if (bytes_ == nullptr) return;
    if (::mprotect(bytes_, mapped_, PROT_READ | PROT_WRITE) == 0) wipe(bytes_, mapped_);
    ::munmap(bytes_, mapped_);
}

std::string_view secret::reveal() const noexcept
{
    return {bytes_, size_};
}

void wipe(void* bytes, std::size_t size) noexcept
{
    OPENSSL_cleanse(bytes, size);
}

bool equal_in_constant_time(std::string_view a, std::string_view b) noexcept
{
    return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace keyhole::config
