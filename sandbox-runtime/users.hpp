// Who the agent and the bridge run as. An own reader of /etc/passwd: a static program cannot use NSS, and the
// image may have neither.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace keyhole::runtime {

struct account {
    std::string name;  ///< may be empty: an id without an entry
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    std::string home;
    std::string shell;
};

/// The bridge's uid and gid where the image has no user of that name.
inline constexpr std::uint32_t usual_bridge_id = 998;

/// Digits only, up to 2^32-2. No sign, blank, hexadecimal or exponent; 4294967295 is -1 to setresuid and
/// means "unchanged".
std::optional<std::uint32_t> parse_id(std::string_view text) noexcept;

/// In the text of a passwd file. Malformed lines are skipped.
std::optional<account> find_by_name(std::string_view passwd, std::string_view name);
std::optional<account> find_by_uid(std::string_view passwd, std::uint32_t uid);

/// The text of a passwd file, up to 1 MiB; empty when there is none.
std::string read_passwd(const char* path = "/etc/passwd");

}  // namespace keyhole::runtime
