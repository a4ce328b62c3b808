#include "config/secret.hpp"

#include <openssl/crypto.h>

#include <cstring>
#include <new>
#include <sys/mman.h>
#include <unistd.h>

namespace keyhole::config {

secret::secret(std::string_view value) : size_(value.size())
{
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    mapped_ = (value.size() / page + 1) * page;
    void* at = ::mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) throw std::bad_alloc();
    bytes_ = static_cast<char*>(at);
    ::mlock(at, mapped_);  // where RLIMIT_MEMLOCK allows; the pages stay out of core dumps either way
    ::madvise(at, mapped_, MADV_DONTDUMP);
    ::madvise(at, mapped_, MADV_WIPEONFORK);
    std::memcpy(bytes_, value.data(), value.size());
}

secret::~secret()
{
    wipe(bytes_, mapped_);
    ::munmap(bytes_, mapped_);
}

std::string_view secret::reveal() const noexcept
{
    return {bytes_, size_};
}

void wipe(void* bytes, std::size_t size) noexcept
{
    if (size != 0) OPENSSL_cleanse(bytes, size);
}

bool equal_in_constant_time(std::string_view a, std::string_view b) noexcept
{
    return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace keyhole::config
