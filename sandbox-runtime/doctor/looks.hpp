// The doctor's single looks; each adds its findings to the report. They run as the agent, in its environment
// and with its descriptors, and change nothing.
#pragma once

#include "sandbox-runtime/doctor/report.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace keyhole::runtime::doctor {

enum class certainty { no, yes, unknown };

struct place {
    char** environment = nullptr;
    std::string socket;
    std::uint16_t port = 0;
    bool expects_proxy = false;
    std::string token_file;
    std::string secrets_directory;
    /// The container has no_new_privs, whoever enters it.
    certainty exec_gains_nothing = certainty::unknown;
};

void look_at_identity(report& r);                        ///< ids, capabilities, no_new_privs, core dumps
void look_at_environment(report& r, const place& here);  ///< its own variables and descriptors
void look_at_processes(report& r);  ///< PID 1, the bridge, everybody's environ and cmdline
void look_at_kernel(report& r);     ///< seccomp, and the calls that it should refuse
void look_at_network(report& r);    ///< interfaces, routes, DNS, metadata, abstract sockets
void look_at_system_files(report& r, const place& here);  ///< what can be written, what gives rights
void look_at_devices(report& r);
void look_at_mounts(report& r);                      ///< directories of the host
void look_at_files(report& r, const place& here);    ///< kernel's files, the two programs, secrets
void look_at_sockets(report& r, const place& here);  ///< unix sockets of others, how the proxy's is mounted
void look_at_models(report& r, const place& here);   ///< the proxy's socket, and whether it answers

/// At most 256 KiB; empty where it cannot be read.
std::string read_file(const std::string& path);
/// "NoNewPrivs:\t1\n" of /proc/PID/status.
std::string field_of(const std::string& status, const std::string& name);
std::vector<std::string> names_in(const std::string& directory);
std::vector<std::string> split(std::string_view text, char separator);
/// "a, b, c", or "none"; long lists are cut.
std::string join(const std::vector<std::string>& words);

}  // namespace keyhole::runtime::doctor
