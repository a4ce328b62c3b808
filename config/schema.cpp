#include "config/schema.hpp"

#include "config/key_makers.hpp"
#include "config/key_readers.hpp"

#include <algorithm>
#include <array>

namespace keyhole::config {
namespace {

using namespace making;

constexpr std::array<std::pair<std::string_view, durability>, 2> durabilities{
    {{"process", durability::process}, {"power", durability::power}}};
constexpr std::array<std::pair<std::string_view, agent_gone_policy>, 2> gone_policies{
    {{"drain", agent_gone_policy::drain}, {"cancel", agent_gone_policy::cancel}}};
constexpr std::array<std::pair<std::string_view, log_level>, 4> log_levels{{{"debug", log_level::debug},
                                                                            {"info", log_level::info},
                                                                            {"warn", log_level::warn},
                                                                            {"error", log_level::error}}};
constexpr std::array<std::pair<std::string_view, log_format>, 2> log_formats{
    {{"text", log_format::text}, {"json", log_format::json}}};
constexpr std::array<std::pair<std::string_view, price_format>, 3> price_formats{
    {{"keyhole", price_format::keyhole},
     {"litellm", price_format::litellm},
     {"models.dev", price_format::models_dev}}};
constexpr std::array<std::pair<std::string_view, std::optional<credential_style>>, 5> credentials{
    {{"bearer", credential_style::bearer},
     {"x-api-key", credential_style::x_api_key},
     {"api-key", credential_style::api_key},
     {"x-goog-api-key", credential_style::x_goog_api_key},
     {"none", credential_style::none}}};

constexpr double day = 86400;
constexpr double kib = 1024;
constexpr double mib = 1024 * kib;
constexpr double gib = 1024 * mib;
/// "<dir>/<session id of 24 characters>/llm.sock" must fit into sun_path.
constexpr std::size_t max_session_directory = 107 - 1 - 24 - 9;

std::vector<section_spec> make_sections()
{
    using S = settings;
    return {
        {"server",
         "The process.",
         {
             number<S>(
                 "workers", 0, 1024, "", [](auto& s) -> auto& { return s.workers; },
                 "Worker threads; 0: one per core."),
             number<S>(
                 "shutdown_grace", 0, day, "seconds", [](auto& s) -> auto& { return s.shutdown_grace; },
                 "What running answers get after SIGTERM."),
         }},
        {"agents",
         "Where sandboxes connect. Mount a socket's directory into the sandbox, never the socket file.",
         {
             special<S>("sockets", "list of absolute paths, at most 107 bytes each",
                        "[\"/run/keyhole/llm.sock\"]", true, "Unix sockets; [] for none.", read_sockets),
             special<S>("socket", "absolute path, at most 107 bytes", "\"/run/keyhole/llm.sock\"", false,
                        "The same for one socket.", read_socket),
             special<S>("socket_mode", "octal file mode in quotes", "\"0660\"", true,
                        "Who may connect: the sockets' file mode.", read_socket_mode),
             special<S>("socket_group", "name of a group", "\"\"", true,
                        "The sockets' group; empty: the process's own.", read_socket_group),
             special<S>("tcp", "list of numeric addresses with ports", "[]", true,
                        "For agents that cannot use a socket, like \"127.0.0.1:8080\".", read_agents_tcp),
             special<S>(
                 "hand_off_uids", "list of numeric user ids", "[998]", true,
                 "Bridges of these users hand their connections over; others relay. Never the agent's.",
                 read_hand_off_uids),
             directory<S>(
                 "session_sockets", max_session_directory,
                 [](auto& s) -> auto& { return s.agents.session_sockets; },
                 "Directory of sessions' own sockets (ID/llm.sock below it)."),
         }},
        {"admin",
         "Sessions and usage. Never reachable from a sandbox.",
         {
             special<S>("socket", "absolute path, at most 107 bytes", quoted(S().admin.socket), true,
                        "Unix socket with mode 0600; the peer's uid is checked.", read_admin_socket),
             special<S>("tcp", "numeric address with a port", "\"127.0.0.1:8090\"", false,
                        "The same over TCP, only together with a token.", read_admin_tcp),
             special<S>("token", "reference to a secret", "\"env:ADMIN_TOKEN\"", false,
                        "Bearer token of the TCP listener: env:NAME or file:/path, 16 characters or more.",
                        read_admin_token),
         }},
        {"metrics",
         "/metrics, /healthz and /readyz.",
         {
             special<S>("listen", "numeric address with a port, or \"off\"", "\"127.0.0.1:9464\"", true,
                        "Where they are served; \"off\": nowhere.", read_metrics_listen),
         }},
        {"state",
         "The ledger, the sessions and the journal of requests in flight.",
         {
             directory<S>(
                 "directory", 4000, [](auto& s) -> auto& { return s.store.directory; },
                 "Keyhole's own directory, nothing else in it."),
             choice<S>(
                 "durability", durabilities, [](auto& s) -> auto& { return s.store.durable; },
                 "What the ledger survives: kill -9 of the process, or a power cut, too (fsync)."),
             number<S>(
                 "journal_slots", 64, 1048576, "", [](auto& s) -> auto& { return s.store.journal_slots; },
                 "Requests in flight plus rows that wait for the database."),
         }},
        {"ledger",
         "How long single requests stay on the books.",
         {
             number<S>(
                 "keep_days", 0, 36500, "days", [](auto& s) -> auto& { return s.ledger.keep_days; },
                 "Rows of older UTC days are pruned, their daily sums stay; 0: kept for ever."),
         }},
        {"limits",
         "Protects the proxy itself. What a session may spend stands in the session.",
         {
             number<S>(
                 "max_head_bytes", kib, 32000, "bytes",
                 [](auto& s) -> auto& { return s.bounds.max_head_bytes; },
                 "Larger request heads are refused (431)."),
             number<S>(
                 "max_body_bytes", kib, 4 * gib, "bytes",
                 [](auto& s) -> auto& { return s.bounds.max_body_bytes; },
                 "Larger request bodies are refused (413)."),
             number<S>(
                 "head_timeout", 0.1, day, "seconds", [](auto& s) -> auto& { return s.bounds.head_timeout; },
                 "From a request's first byte to the end of its head."),
             number<S>(
                 "body_timeout", 0.1, day, "seconds", [](auto& s) -> auto& { return s.bounds.body_timeout; },
                 "Between two bytes of a request's body."),
             number<S>(
                 "keepalive_timeout", 0, day, "seconds",
                 [](auto& s) -> auto& { return s.bounds.keepalive_timeout; },
                 "An idle agent connection is closed after this."),
             number<S>(
                 "max_connections", 1, 1048576, "", [](auto& s) -> auto& { return s.bounds.max_connections; },
                 "Agent connections in all."),
             number<S>(
                 "max_connections_per_session", 1, 1048576, "",
                 [](auto& s) -> auto& { return s.bounds.max_connections_per_session; },
                 "Requests in flight of one session."),
             number<S>(
                 "write_timeout", 0.1, day, "seconds",
                 [](auto& s) -> auto& { return s.bounds.write_timeout; },
                 "An agent that reads nothing is cut after this."),
         }},
        {"agent_gone",
         "What happens to a running answer when the agent hangs up before its end.",
         {
             choice<S>(
                 "policy", gone_policies, [](auto& s) -> auto& { return s.gone.policy; },
                 "Read on, to bill what the provider bills, or stop and bill what is known."),
             number<S>(
                 "drain_seconds", 0, day, "seconds", [](auto& s) -> auto& { return s.gone.drain_seconds; },
                 "Longest drain."),
             number<S>(
                 "drain_bytes", 0, 4 * gib, "bytes", [](auto& s) -> auto& { return s.gone.drain_bytes; },
                 "Largest drain."),
             number<S>(
                 "max_drains", 0, 1048576, "", [](auto& s) -> auto& { return s.gone.max_drains; },
                 "Drains at once; above it answers are cancelled."),
         }},
        {"sessions",
         "Defaults of new sessions.",
         {
             number<S>(
                 "ttl", 0, 3660 * day, "seconds", [](auto& s) -> auto& { return s.sessions.ttl; },
                 "Until a session expires; 0: never."),
             boolean<S>(
                 "refuse_unpriced", [](auto& s) -> auto& { return s.sessions.refuse_unpriced; },
                 "Refuse a model without a price where a money limit exists."),
             boolean<S>(
                 "unbounded_batches", [](auto& s) -> auto& { return s.sessions.unbounded_batches; },
                 "Let sessions with a money or token limit make batches whose cost their request does not "
                 "bound."),
             boolean<S>(
                 "budget_headers", [](auto& s) -> auto& { return s.sessions.budget_headers; },
                 "Tell agents what is left of their budget in headers."),
             number<S>(
                 "reserve_output_tokens", 1, 1e9, "",
                 [](auto& s) -> auto& { return s.sessions.reserve_output_tokens; },
                 "Most output tokens that are reserved for a request before it is forwarded."),
         }},
        {"log",
         "The log, on standard error.",
         {
             choice<S>(
                 "level", log_levels, [](auto& s) -> auto& { return s.log.level; }, "What is worth a line."),
             choice<S>(
                 "format", log_formats, [](auto& s) -> auto& { return s.log.format; },
                 "For people or for programs."),
         }},
    };
}

/// The APIs that a known provider speaks: what is served.
std::vector<std::pair<std::string_view, std::optional<dialect>>> dialects()
{
    std::vector<std::pair<std::string_view, std::optional<dialect>>> found;
    for (const provider_preset& p : provider_presets()) {
        const bool seen =
            std::any_of(found.begin(), found.end(), [&](const auto& one) { return one.second == p.api; });
        if (!seen) found.emplace_back(to_string(p.api), p.api);
    }
    return found;
}

std::vector<key_spec<provider_draft>> make_provider_keys()
{
    using P = provider_draft;
    auto api =
        choice<P>("api", dialects(), [](auto& p) -> auto& { return p.api; }, "The API that it speaks.");
    auto credential = choice<P>(
        "credential", credentials, [](auto& p) -> auto& { return p.credential; }, "How the key is sent.");
    // Their default is the known provider's of that name.
    api.has_default = credential.has_default = false;
    api.sample = "\"openai\"";
    credential.sample = "\"bearer\"";
    return {
        boolean<P>(
            "enabled", [](auto& p) -> auto& { return p.enabled; },
            "false: not used, even if its key is in the environment."),
        std::move(api),
        special<P>("base_url", "http or https URL", "\"https://api.openai.com/v1\"", false,
                   "With the version segment, if the API has one.", read_base_url),
        special<P>("key", "reference to a secret", "\"env:OPENAI_API_KEY\"", false,
                   "env:NAME or file:/path; never the key itself.", read_key),
        special<P>(
            "keys", "list of references to secrets", "[\"env:OPENAI_KEY_1\", \"env:OPENAI_KEY_2\"]", false,
            "Several keys instead: a session stays with one, and gets the next while that rests.", read_keys),
        std::move(credential),
        special<P>("headers", "list of \"Name: value\"", "[]", true,
                   "Sent with every request, in place of the agent's own of that name. No place for secrets.",
                   read_headers),
        special<P>("ca_file", "absolute path", "\"\"", true,
                   "Certificates (PEM) to trust instead of the system's; empty: the system's.", read_ca_file),
        boolean<P>(
            "allow_plain_http", [](auto& p) -> auto& { return p.allow_plain_http; },
            "Allow an http:// URL of another machine: prompts and the key then cross the network in clear."),
        number<P>(
            "connect_timeout", 0.1, day, "seconds", [](auto& p) -> auto& { return p.result.connect_timeout; },
            "For DNS, TCP and TLS."),
        number<P>(
            "first_byte_timeout", 0.1, day, "seconds",
            [](auto& p) -> auto& { return p.result.first_byte_timeout; },
            "From the request's last byte to the answer's first."),
        number<P>(
            "idle_timeout", 0.1, day, "seconds", [](auto& p) -> auto& { return p.result.idle_timeout; },
            "Between two bytes of an answer; agents themselves wait 300."),
        number<P>(
            "max_idle_connections", 0, 65536, "",
            [](auto& p) -> auto& { return p.result.max_idle_connections; },
            "Idle connections kept per worker."),
        number<P>(
            "keepalive", 0, day, "seconds", [](auto& p) -> auto& { return p.result.keepalive; },
            "An idle connection is closed after this."),
    };
}

std::vector<key_spec<price_file>> make_price_keys()
{
    return {
        choice<price_file>(
            "format", price_formats, [](auto& p) -> auto& { return p.format; }, "Whose format it has."),
        special<price_file>("path", "absolute path", "\"/etc/keyhole/prices.toml\"", false, "The file.",
                            read_price_path),
    };
}

}  // namespace

std::string known_names(const std::vector<std::string_view>& names)
{
    constexpr std::size_t readable = 8;
    if (names.size() > readable) return "keyhole config prints all keys";
    std::string all;
    for (const std::string_view name : names) {
        all += (all.empty() ? "one of: " : ", ") + std::string(name);
    }
    return all;
}

const std::vector<section_spec>& sections()
{
    static const std::vector<section_spec> all = make_sections();
    return all;
}

const std::vector<key_spec<provider_draft>>& provider_keys()
{
    static const std::vector<key_spec<provider_draft>> all = make_provider_keys();
    return all;
}

const std::vector<key_spec<price_file>>& price_keys()
{
    static const std::vector<key_spec<price_file>> all = make_price_keys();
    return all;
}

}  // namespace keyhole::config
