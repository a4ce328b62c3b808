// What an operator can set: plain values with their defaults. Nothing here reads files; see load.hpp.
// Times are seconds (double where fractions make sense), sizes bytes, money nano-USD (1 USD = 1'000'000'000).
#pragma once

#include "config/providers.hpp"
#include "config/secret.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace keyhole::config {

struct tcp_address {
    std::string host;  ///< numeric IPv4 or IPv6 address, without brackets
    std::uint16_t port = 0;
};

/// [agents]: where sandboxes connect. Nothing but model routes is served here.
struct agent_listeners {
    std::vector<std::string> sockets{"/run/keyhole/llm.sock"};  ///< at most 107 bytes each (sun_path)
    unsigned socket_mode = 0660;
    std::string socket_group;      ///< empty: the process's own
    std::vector<tcp_address> tcp;  ///< optional
    /// Users whose descriptors are taken (hand-off): bridges with a user of their own. Empty: nobody's.
    std::vector<std::uint32_t> hand_off_uids{998};
    std::string session_sockets =
        "/run/keyhole-sessions";  ///< parent directory of sessions' own sockets: <dir>/<id>/llm.sock
};

/// [admin]: sessions, usage, GhostProxy's registry API. Never on an agent listener.
struct admin_listener {
    std::string socket = "/run/keyhole-admin/admin.sock";  ///< mode 0600, peer uid checked
    std::optional<tcp_address> tcp;                        ///< only together with `token`
    secret_ptr token;                                      ///< bearer token of the TCP listener
};

/// [metrics]: /metrics, /healthz, /readyz.
struct metrics_listener {
    std::optional<tcp_address> tcp = tcp_address{"127.0.0.1", 9464};  ///< nullopt: off
};

enum class durability : std::uint8_t { process, power };  ///< survives kill -9 | also a power cut (fsync)

/// [state]: the ledger, the sessions and the in-flight journal live in this directory.
struct state {
    std::string directory = "/var/lib/keyhole";
    durability durable = durability::process;
    unsigned journal_slots = 4096;  ///< requests in flight plus rows that wait for the database
};

/// [ledger]
struct ledger_rules {
    unsigned keep_days = 0;  ///< rows older than so many whole UTC days are pruned; 0: kept for ever
};

/// [providers.NAME]
struct provider {
    std::string name;
    dialect api = dialect::openai;
    credential_style credential = credential_style::bearer;
    bool tls = true;   ///< from the URL's scheme
    std::string host;  ///< from the URL, lower case; IPv6 without brackets
    std::uint16_t port = 443;
    std::string base_path;         ///< from the URL, no trailing slash: "/v1" or ""
    std::vector<secret_ptr> keys;  ///< at least one unless credential is none
    std::string ca_file;           ///< empty: the system's store
    std::vector<std::pair<std::string, std::string>>
        headers;  ///< sent with every request, in place of the agent's own: lower-case name, value
    double connect_timeout = 10;         ///< DNS + TCP + TLS
    double first_byte_timeout = 600;     ///< from the request's last byte to the answer's first
    double idle_timeout = 600;           ///< between two bytes of an answer (agents themselves wait 300 s)
    unsigned max_idle_connections = 32;  ///< kept per worker
    double keepalive = 55;               ///< an idle connection is closed after this
};

enum class agent_gone_policy : std::uint8_t { drain, cancel };

/// [limits]: protects the proxy itself; what a session may spend stands in the session.
struct limits {
    std::size_t max_head_bytes = 30 * 1024;
    std::size_t max_body_bytes = 64 * 1024 * 1024;
    double head_timeout = 15;        ///< from a request's first byte to the end of its head
    double body_timeout = 60;        ///< between two bytes of a request's body
    double keepalive_timeout = 120;  ///< an idle agent connection is closed after this
    unsigned max_connections = 16384;
    unsigned max_connections_per_session = 512;
    double write_timeout = 600;  ///< an agent that reads nothing for this long is cut
};

/// [agent_gone]: what happens to a running answer when the agent hangs up before its end.
struct agent_gone {
    agent_gone_policy policy = agent_gone_policy::drain;
    double drain_seconds = 60;
    std::size_t drain_bytes = 32 * 1024 * 1024;
    unsigned max_drains = 256;  ///< at once; above it the answer is cancelled
};

/// [sessions]: defaults of new sessions.
struct session_defaults {
    double ttl = 0;                  ///< seconds; 0: no expiry unless the session says so
    bool unbounded_batches = false;  ///< batches of unknown cost where a money or token limit exists
    bool refuse_unpriced = true;     ///< a model without a price is refused where a money limit exists
    bool budget_headers = false;     ///< x-keyhole-budget-remaining-usd … on answers
    /// Output tokens reserved for a request before it is forwarded: min(declared, model's maximum, this cap).
    std::int64_t reserve_output_tokens = 8192;
};

enum class price_format : std::uint8_t { keyhole, litellm, models_dev };

struct price_file {
    price_format format = price_format::keyhole;
    std::string path;
};

enum class log_format : std::uint8_t { text, json };
enum class log_level : std::uint8_t { debug, info, warn, error };

struct logging {
    log_level level = log_level::info;
    log_format format = log_format::text;
};

struct settings {
    unsigned workers = 0;        ///< 0: one per core
    double shutdown_grace = 30;  ///< seconds that running streams get after SIGTERM
    agent_listeners agents;
    admin_listener admin;
    metrics_listener metrics;
    state store;
    ledger_rules ledger;
    std::vector<provider> providers;
    limits bounds;
    agent_gone gone;
    session_defaults sessions;
    std::vector<price_file> prices;  ///< loaded in order over the built-in table
    logging log;
    std::vector<std::string>
        notes;  ///< remarks for the operator ("openai: key from OPENAI_API_KEY"); never a secret
};

}  // namespace keyhole::config
