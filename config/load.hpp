// Command line over environment over file over default -> settings, or every mistake at once.
#pragma once

#include "config/config.hpp"

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace keyhole::config {

/// One mistake in the configuration, said so that it can be mended without the manual.
struct problem {
    std::string where;   ///< "keyhole.toml:12", "environment KEYHOLE_LOG_LEVEL", "--set log.level"
    std::string key;     ///< "log.level"
    std::string what;    ///< "unknown key", "expected a number, got a string", …
    std::string remedy;  ///< "did you mean …?", "one of: debug, info, warn, error"
};

/// "WHERE: KEY: WHAT (REMEDY)", one line, never a secret's bytes.
std::string to_string(const problem& p);

struct sources {
    std::string file;  ///< path of the TOML file; empty: none
    std::map<std::string, std::string>
        overrides;  ///< from --set KEY=VALUE: dotted key -> TOML value or bare string
    std::function<const char*(const char*)> getenv = nullptr;  ///< nullptr: the process's environment
    std::vector<std::string>
        environment_names;  ///< names present (to find unknown KEYHOLE_*); empty: from environ
};

/// Loads and checks everything, including that secrets can be read and URLs parse. Does not bind, connect or
/// create anything. Environment: KEYHOLE_<SECTION>_<KEY> (KEYHOLE_LOG_LEVEL, KEYHOLE_STATE_DIRECTORY …) and
/// KEYHOLE_PROVIDERS_<NAME>_<KEY>; provider keys also from the variables of provider_presets(); a secret's
/// variable also as <NAME>_FILE. A variable that is empty is not set. <PROVIDER>_BASE_URL is deliberately not
/// read (agents set it); KEYHOLE_CONFIG, the file's path, is the caller's.
std::variant<settings, std::vector<problem>> load(const sources& from);

/// The documented configuration with every key, its default and one line on it, as `keyhole config` prints
/// it.
std::string example_toml();

}  // namespace keyhole::config
