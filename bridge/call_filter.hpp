// A seccomp filter under construction: which system calls a process may make (seccomp(2), classic BPF).
// Thread rule: one owner; an installed filter holds for the calling thread and all that it starts.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

namespace keyhole::sys {

/// What the kernel calls this machine in a filter's data; 0 where this code knows no filter.
#if defined(__x86_64__)
inline constexpr std::uint32_t own_architecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
inline constexpr std::uint32_t own_architecture = AUDIT_ARCH_AARCH64;
#else
inline constexpr std::uint32_t own_architecture = 0;
#endif

/// The call fails with `error`.
constexpr std::uint32_t fails_with(int error) noexcept
{
    return SECCOMP_RET_ERRNO | (static_cast<std::uint32_t>(error) & SECCOMP_RET_DATA);
}

/// A rule for one call answers it in every case, so the accumulator holds the call's number wherever the next
/// rule begins.
class call_filter {
public:
    void add(std::uint16_t code, std::uint32_t value, std::uint8_t yes = 0, std::uint8_t no = 0) noexcept
    {
        if (size_ < program_.size()) program_[size_] = {code, yes, no, value};
        ++size_;
    }
    void answer(std::uint32_t what) noexcept { add(BPF_RET | BPF_K, what); }
    void answer_if_equal(std::uint32_t value, std::uint32_t what) noexcept
    {
        add(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
        answer(what);
    }
    void load(std::size_t offset) noexcept
    {
        add(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset));
    }
    void load_number() noexcept { load(offsetof(seccomp_data, nr)); }
    /// The lower half: what the kernel looks at where the parameter is an int.
    void load_argument(std::size_t index) noexcept { load(offsetof(seccomp_data, args) + 8 * index); }
    /// The rest of a pointer.
    void load_upper_half(std::size_t index) noexcept { load(offsetof(seccomp_data, args) + 8 * index + 4); }
    /// Calls through another table (32-bit, where the same numbers mean other calls) get `what`; then the
    /// number is loaded.
    void answer_other_tables(std::uint32_t what) noexcept
    {
        load(offsetof(seccomp_data, arch));
        add(BPF_JMP | BPF_JEQ | BPF_K, own_architecture, 1, 0);
        answer(what);
        load_number();
    }
    /// What follows up to end() is for this system call only.
    std::size_t begin(long call) noexcept
    {
        add(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(call));
        return size_;
    }
    void end(std::size_t begun) noexcept
    {
        if (fits()) program_[begun - 1].jf = static_cast<std::uint8_t>(size_ - begun);
    }
    bool fits() const noexcept { return size_ <= program_.size(); }
    /// Needs no_new_privs. False with errno: EINVAL or ENOSYS where the kernel (or an emulator) has none.
    bool install() noexcept
    {
        sock_fprog program{static_cast<unsigned short>(size_), program_.data()};
        return ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
    }

private:
    std::array<sock_filter, 200> program_{};
    std::size_t size_ = 0;
};

}  // namespace keyhole::sys
