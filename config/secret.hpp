// A provider's real key (or another secret) in memory that is locked, left out of core dumps and wiped when
// freed. KEY_STAYS_HOME: it can't be printed, compared with == or converted; its bytes are reached through
// reveal() only. Thread rule: immutable after construction; shared freely between threads through secret_ptr.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

namespace keyhole::config {

class secret {
public:
    /// Copies `value` into locked pages (mlock where allowed, MADV_DONTDUMP). The caller wipes its own copy.
    explicit secret(std::string_view value);
    ~secret();
    secret(const secret&) = delete;
    secret& operator=(const secret&) = delete;

    /// The bytes themselves. Every call site of this function is a place to look at in a review.
    std::string_view reveal() const noexcept;
    std::size_t size() const noexcept { return size_; }
    /// The pages cannot be swapped out. False where RLIMIT_MEMLOCK forbids it: worth a remark, not a failure.
    bool locked() const noexcept { return locked_; }

private:
    char* bytes_ = nullptr;  ///< page-aligned, `mapped_` bytes long
    std::size_t size_ = 0;
    std::size_t mapped_ = 0;
    bool locked_ = true;
};

using secret_ptr = std::shared_ptr<const secret>;

/// Overwrites `size` bytes in a way the compiler may not remove.
void wipe(void* bytes, std::size_t size) noexcept;

/// Equal length and equal bytes, in time that depends on the lengths only.
bool equal_in_constant_time(std::string_view a, std::string_view b) noexcept;

}  // namespace keyhole::config
