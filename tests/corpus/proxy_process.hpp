// A real `keyhole serve` with directories of its own, set up as an operator would: a configuration file, keys
// in the environment, a session from the command line, the ledger read from its file. Thread rule: one
// thread, but for rows(), which may be asked from any one.
#pragma once

#include "metering/record.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <sys/types.h>

namespace keyhole::corpus {

class proxy_process {
public:
    /// Starts `program` in front of an upstream at `port` and waits until it is ready. Throws
    /// std::runtime_error with what it said.
    proxy_process(const std::filesystem::path& program, std::uint16_t port, const std::string& key);
    ~proxy_process();  ///< SIGTERM, and its directory goes
    proxy_process(const proxy_process&) = delete;
    proxy_process& operator=(const proxy_process&) = delete;

    const std::string& socket() const noexcept { return socket_; }
    const std::string& token() const noexcept { return token_; }
    /// All rows of the ledger by request id (text form), once there are at least `wanted`, or after a while.
    std::map<std::string, metering::record> rows(std::size_t wanted) const;

private:
    std::string run(const std::string& arguments) const;

    std::filesystem::path program_;
    std::filesystem::path home_;
    std::string socket_;
    std::string token_;
    pid_t pid_ = -1;
};

}  // namespace keyhole::corpus
