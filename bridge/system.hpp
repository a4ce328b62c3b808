// Small pieces of POSIX that the bridge and the init share: owned descriptors, strict numbers, one-line
// messages, and what a process does so that nobody reads its memory. Single-threaded programs only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace keyhole::sys {

/// Exit codes, as in sysexits.h. The documented meaning of each is in docs/sandbox.md.
enum exit_code : int {
    exit_ok = 0,
    exit_no_proxy = 1,
    exit_usage = 64,
    exit_no_user = 67,
    exit_unavailable = 69,
    exit_os_error = 71,
    exit_no_permission = 77,
    exit_configuration = 78,
    exit_cannot_execute = 126,
    exit_not_found = 127,
};

class unique_fd {
public:
    unique_fd() = default;
    explicit unique_fd(int fd) noexcept : fd_(fd) {}
    unique_fd(unique_fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    unique_fd& operator=(unique_fd&& other) noexcept;
    ~unique_fd() { reset(); }

    int get() const noexcept { return fd_; }
    explicit operator bool() const noexcept { return fd_ >= 0; }
    int release() noexcept { return std::exchange(fd_, -1); }
    void reset() noexcept;

private:
    int fd_ = -1;
};

/// Milliseconds of the monotonic clock.
std::int64_t now_ms() noexcept;

/// Decimal digits only, no sign, no blank, at most `max`. Everything else is nothing: "0x10", "1e3", " 1",
/// "4294967296" for an id.
std::optional<std::uint64_t> parse_number(std::string_view text, std::uint64_t max) noexcept;

/// A number as text, for messages built without allocation.
class decimal {
public:
    explicit decimal(std::int64_t value) noexcept;
    operator std::string_view() const noexcept { return {text_, length_}; }

private:
    char text_[24];
    std::size_t length_;
};

/// The name that begins every message, and that /proc/PID/comm shows (a program that is executed by
/// descriptor has none of its own).
void set_program_name(std::string_view name) noexcept;
/// One line on stderr, one write. Dropped when stderr is full: a program that relays must not stop because
/// nobody reads its log.
void say(std::initializer_list<std::string_view> parts) noexcept;
/// The same, but waits for room: for the message that explains an exit.
void complain(std::initializer_list<std::string_view> parts) noexcept;
void write_all(int fd, std::string_view text) noexcept;

/// KEY_STAYS_HOME, TOKEN_STAYS_HOME: no core dump, no ptrace, no /proc/PID/{environ,mem,fd} for others of the
/// same uid. First thing in main: execve resets it.
void become_unreadable() noexcept;
bool forbid_new_privileges() noexcept;
/// Overwrites the environment this process was started with, where /proc/PID/environ reads it. unsetenv()
/// does not.
void wipe_environment(char** envp) noexcept;
/// A wipe that the optimiser must keep.
void wipe(void* data, std::size_t size) noexcept;
/// Closes every descriptor from `first` on.
void close_from(int first) noexcept;
void close_between(int first, int last) noexcept;
/// Descriptors 0, 1 and 2 exist afterwards, so that nothing we open becomes somebody's stdout.
void ensure_standard_descriptors() noexcept;
bool write_byte(int fd, char byte) noexcept;

}  // namespace keyhole::sys
