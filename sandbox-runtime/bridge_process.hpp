// The bridge as a child: started with the listening sockets and the token on inherited descriptors and
// nothing else, started again when it dies. The sockets stay open here, so the port is never free for
// somebody else to take.
#pragma once

#include "bridge/locked_bytes.hpp"
#include "bridge/system.hpp"
#include "sandbox-runtime/settings.hpp"

#include <sys/stat.h>
#include <sys/types.h>
#include <vector>

namespace keyhole::runtime {

class bridge_process {
public:
    bridge_process(const settings& s, const sys::locked_bytes& token) : settings_(s), token_(token) {}

    /// Takes hold of the program, so that it stays this one whatever becomes of its name, and of the port. An
    /// exit code; 0 is success. Needs privileges only where the loopback interface is down.
    int bind(std::string& error);
    /// Starts the bridge and waits until it serves and the proxy answers. An exit code; 0 is success.
    int start(int signal_fd, std::string& error);

    pid_t pid() const noexcept { return pid_; }
    bool in_use() const noexcept { return !listeners_.empty(); }
    /// It was reaped. From now on it is due to be started again, or lost where that is not wanted.
    void exited(int wait_status);
    /// Milliseconds until there is something to do; -1: nothing.
    int timeout() const;
    void on_timer();
    void stop_restarting() noexcept { wanted_ = false; }
    bool is_lost() const noexcept { return lost_; }

private:
    bool spawn(int ready_fd, std::string& error);
    /// After the fork: the program runs, it is the one that it was, and the token is handed to it.
    bool entrust(int exec_fd, sys::unique_fd token_fd, std::string& error);
    bool was_tampered_with() const noexcept;
    void give_up() noexcept;
    int wait_until_ready(int ready_fd, int signal_fd, std::string& error);

    const settings& settings_;
    const sys::locked_bytes& token_;
    sys::unique_fd program_;
    struct stat program_was_{};
    std::vector<sys::unique_fd> listeners_;
    pid_t pid_ = -1;
    bool wanted_ = false;
    bool lost_ = false;
    int delay_ms_ = 0;
    std::int64_t started_ms_ = 0;
    std::int64_t start_again_ms_ = -1;
};

/// Waits for a signal that means "stop" until the time is over. Its number, or 0.
int stop_signal(int signal_fd, int timeout_ms) noexcept;

/// The loopback interface of a fresh network namespace may be down. True when it is up now.
bool raise_loopback() noexcept;

}  // namespace keyhole::runtime
