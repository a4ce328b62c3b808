#include "config/keys.hpp"

#include "config/secrets.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>

namespace keyhole::config {
namespace {

std::string type_of(const raw_value& v)
{
    switch (v.index()) {
    case 0:
        return "true/false";
    case 1:
        return "an integer";
    case 2:
        return "a number";
    case 3:
        return "a string";
    default:
        return "a list";
    }
}

verdict expected(std::string_view what, const raw_value& got)
{
    return {"expected " + std::string(what) + ", got " + type_of(got),
            "see `keyhole config` for the default"};
}

template <class T>
auto whole(T settings::* section, auto T::* field, std::int64_t least, std::int64_t most)
{
    return [=](settings& s, const raw_value& v) -> verdict {
        const auto* n = std::get_if<std::int64_t>(&v);
        if (n == nullptr) return expected("a whole number", v);
        if (*n < least || *n > most)
            return {std::to_string(*n) + " is out of range",
                    "from " + std::to_string(least) + " to " + std::to_string(most)};
        (s.*section).*field = static_cast<std::remove_reference_t<decltype((s.*section).*field)>>(*n);
        return {};
    };
}

template <class T>
auto seconds(T settings::* section, double T::* field, double least = 0.001)
{
    return [=](settings& s, const raw_value& v) {
        return take_number(v, least, 31'536'000, (s.*section).*field);
    };
}

template <class T>
auto flag(T settings::* section, bool T::* field)
{
    return [=](settings& s, const raw_value& v) -> verdict {
        const auto* b = std::get_if<bool>(&v);
        if (b == nullptr) return expected("true or false", v);
        (s.*section).*field = *b;
        return {};
    };
}

template <class T>
auto text(T settings::* section, std::string T::* field)
{
    return [=](settings& s, const raw_value& v) { return take_text(v, (s.*section).*field); };
}

template <class T, class E>
auto choice(T settings::* section, E T::* field, std::vector<std::pair<std::string_view, E>> choices)
{
    return [=](settings& s, const raw_value& v) -> verdict {
        const auto* t = std::get_if<std::string>(&v);
        if (t == nullptr) return expected("a string", v);
        std::string names;
        for (const auto& [name, value] : choices) {
            if (*t == name) {
                (s.*section).*field = value;
                return {};
            }
            names += (names.empty() ? "" : ", ") + std::string(name);
        }
        return {"unknown value \"" + *t + "\"", "one of: " + names};
    };
}

verdict path_verdict(const std::string& path)
{
    if (path.empty() || path.front() != '/')
        return {"\"" + path + "\" is not an absolute path", "begin it with /"};
    return {};
}

template <class T>
auto path(T settings::* section, std::string T::* field)
{
    return [=](settings& s, const raw_value& v) -> verdict {
        std::string value;
        if (auto bad = take_text(v, value)) return bad;
        if (auto bad = path_verdict(value)) return bad;
        (s.*section).*field = value;
        return {};
    };
}

verdict take_address(const std::string& value, tcp_address& into)
{
    const verdict bad{"\"" + value + "\" is not a numeric address with a port",
                      "write e.g. 127.0.0.1:8080 or [::1]:8080"};
    const auto colon = value.rfind(':');
    if (colon == std::string::npos) return bad;
    auto host = value.substr(0, colon);
    if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
    unsigned port = 0;
    const auto* end = value.data() + value.size();
    const auto [stop, ec] = std::from_chars(value.data() + colon + 1, end, port);
    in6_addr room{};
    const bool numeric =
        ::inet_pton(AF_INET, host.c_str(), &room) == 1 || ::inet_pton(AF_INET6, host.c_str(), &room) == 1;
    if (ec != std::errc{} || stop != end || port == 0 || port > 65535 || !numeric) return bad;
    into = {host, static_cast<std::uint16_t>(port)};
    return {};
}

verdict take_list(const raw_value& v, std::vector<std::string>& into)
{
    if (const auto* one = std::get_if<std::string>(&v))
        into = {*one};
    else if (const auto* many = std::get_if<std::vector<std::string>>(&v))
        into = *many;
    else
        return expected("a string or a list of strings", v);
    std::erase(into, "");
    return {};
}

verdict take_sockets(settings& s, const raw_value& v)
{
    std::vector<std::string> list;
    if (auto bad = take_list(v, list)) return bad;
    for (const auto& p : list) {
        if (auto bad = path_verdict(p)) return bad;
        if (p.size() > 107)
            return {"\"" + p + "\" has " + std::to_string(p.size()) +
                        " bytes, a unix socket's path may have 107",
                    "choose a shorter directory"};
    }
    s.agents.sockets = list;
    return {};
}

verdict take_mode(settings& s, const raw_value& v)
{
    const verdict bad{"is not a file mode", "write it in octal as a string, e.g. \"0660\""};
    const auto* t = std::get_if<std::string>(&v);
    if (t == nullptr || t->empty()) return bad;
    unsigned mode = 0;
    const auto [end, ec] = std::from_chars(t->data(), t->data() + t->size(), mode, 8);
    if (ec != std::errc{} || end != t->data() + t->size() || mode > 0777) return bad;
    s.agents.socket_mode = mode;
    return {};
}

verdict take_agent_tcp(settings& s, const raw_value& v)
{
    std::vector<std::string> list;
    if (auto bad = take_list(v, list)) return bad;
    s.agents.tcp.clear();
    for (const auto& one : list) {
        tcp_address a;
        if (auto bad = take_address(one, a)) return bad;
        s.agents.tcp.push_back(a);
    }
    return {};
}

template <class T>
auto optional_address(T settings::* section, std::optional<tcp_address> T::* field)
{
    return [=](settings& s, const raw_value& v) -> verdict {
        std::string value;
        if (auto bad = take_text(v, value)) return bad;
        if (value.empty() || value == "off") {
            (s.*section).*field = std::nullopt;
            return {};
        }
        tcp_address a;
        if (auto bad = take_address(value, a)) return bad;
        (s.*section).*field = a;
        return {};
    };
}

std::vector<key_row> make_table()
{
    constexpr auto huge = std::numeric_limits<std::int64_t>::max() / 4;
    std::vector<key_row> t;
    const auto add = [&](std::string_view name, std::string_view shown, std::string_view about, auto take) {
        t.push_back({name, shown, about, std::move(take)});
    };
    add("server.workers", "0", "Threads that serve agents; 0: one per core.",
        [](settings& s, const raw_value& v) -> verdict {
            const auto* n = std::get_if<std::int64_t>(&v);
            if (n == nullptr) return expected("a whole number", v);
            if (*n < 0 || *n > 1024) return {std::to_string(*n) + " is out of range", "from 0 to 1024"};
            s.workers = static_cast<unsigned>(*n);
            return {};
        });
    add("server.shutdown_grace", "30", "Seconds that running answers get after SIGTERM.",
        [](settings& s, const raw_value& v) { return take_number(v, 0, 86'400, s.shutdown_grace); });

    add("agents.sockets", R"(["/run/keyhole/llm.sock"])",
        "Unix sockets for sandboxes (at most 107 bytes each). Mount the directory, not the file.",
        take_sockets);
    add("agents.socket_mode", R"("0660")", "Who may connect to them.", take_mode);
    add("agents.socket_group", R"("")", "Group of the sockets; empty: the process's own.",
        text(&settings::agents, &agent_listeners::socket_group));
    add("agents.tcp", "[]",
        "TCP addresses for agents, e.g. [\"127.0.0.1:8080\"]. Tokens are then the only identity.",
        take_agent_tcp);
    add("agents.session_sockets", R"("/run/keyhole-sessions")",
        "Parent directory of sessions' own sockets: <here>/<session>/llm.sock.",
        path(&settings::agents, &agent_listeners::session_sockets));

    add("admin.socket", R"("/run/keyhole-admin/admin.sock")",
        "Sessions and usage. Mode 0600, only root and keyhole's own user.",
        path(&settings::admin, &admin_listener::socket));
    add("admin.tcp", R"("")", "TCP address of the admin API; needs admin.token.",
        optional_address(&settings::admin, &admin_listener::tcp));
    add("admin.token", R"("")", "Bearer token of admin.tcp, by reference: \"env:NAME\" or \"file:/path\".",
        [](settings&, const raw_value& v) -> verdict {
            std::string reference;
            return take_text(v, reference);  // the loader resolves it: it has the environment
        });

    add("metrics.listen", R"("127.0.0.1:9464")", "/metrics, /healthz, /readyz; \"off\" for none.",
        optional_address(&settings::metrics, &metrics_listener::tcp));

    add("state.directory", R"("/var/lib/keyhole")", "Ledger, sessions and the in-flight journal.",
        path(&settings::store, &state::directory));
    add("state.durability", R"("process")",
        "\"process\": survives kill -9; \"power\": also a power cut (fsync).",
        choice(&settings::store, &state::durable,
               {{"process", durability::process}, {"power", durability::power}}));
    add("state.journal_slots", "4096", "Requests in flight plus rows that wait for the database.",
        whole(&settings::store, &state::journal_slots, 64, 1'048'576));

    add("limits.max_head_bytes", "30720", "Larger request heads are refused (431).",
        whole(&settings::bounds, &limits::max_head_bytes, 1024, 32'000));
    add("limits.max_body_bytes", "67108864", "Larger request bodies are refused (413).",
        whole(&settings::bounds, &limits::max_body_bytes, 1024, huge));
    add("limits.head_timeout", "15", "Seconds for a request's head.",
        seconds(&settings::bounds, &limits::head_timeout));
    add("limits.body_timeout", "60", "Seconds between two bytes of a request's body.",
        seconds(&settings::bounds, &limits::body_timeout));
    add("limits.keepalive_timeout", "120", "Seconds that an idle agent connection is kept.",
        seconds(&settings::bounds, &limits::keepalive_timeout));
    add("limits.max_connections", "16384", "Agent connections at once.",
        whole(&settings::bounds, &limits::max_connections, 1, 1'000'000));
    add("limits.max_connections_per_session", "512", "Requests in flight of one session.",
        whole(&settings::bounds, &limits::max_connections_per_session, 1, 1'000'000));
    add("limits.write_timeout", "600", "Seconds that an agent may read nothing before it is cut.",
        seconds(&settings::bounds, &limits::write_timeout));

    add("agent_gone.policy", R"("drain")",
        "An agent hangs up mid-answer: \"drain\" reads on for the true usage, \"cancel\" ends the answer.",
        choice(&settings::gone, &agent_gone::policy,
               {{"drain", agent_gone_policy::drain}, {"cancel", agent_gone_policy::cancel}}));
    add("agent_gone.drain_seconds", "60", "Longest drain.",
        seconds(&settings::gone, &agent_gone::drain_seconds));
    add("agent_gone.drain_bytes", "33554432", "Largest drain.",
        whole(&settings::gone, &agent_gone::drain_bytes, 0, huge));
    add("agent_gone.max_drains", "256", "Drains at once; above it answers are cancelled.",
        whole(&settings::gone, &agent_gone::max_drains, 0, 1'000'000));

    add("sessions.ttl", "0", "Seconds that new sessions live; 0: until revoked.",
        seconds(&settings::sessions, &session_defaults::ttl, 0));
    add("sessions.refuse_unpriced", "true", "Refuse models without a price where a money limit exists.",
        flag(&settings::sessions, &session_defaults::refuse_unpriced));
    add("sessions.budget_headers", "false", "Send x-keyhole-budget-remaining-… to agents.",
        flag(&settings::sessions, &session_defaults::budget_headers));
    add("sessions.reserve_output_tokens", "8192",
        "Output tokens held for a request: min(declared, the model's maximum, this).",
        whole(&settings::sessions, &session_defaults::reserve_output_tokens, 1, huge));

    add("log.level", R"("info")", "debug, info, warn or error.",
        choice(&settings::log, &logging::level,
               {{"debug", log_level::debug},
                {"info", log_level::info},
                {"warn", log_level::warn},
                {"error", log_level::error}}));
    add("log.format", R"("text")", "text or json.",
        choice(&settings::log, &logging::format, {{"text", log_format::text}, {"json", log_format::json}}));
    return t;
}

std::size_t distance(std::string_view a, std::string_view b)
{
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i;
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const auto next =
                std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0U : 1U)});
            diagonal = row[j];
            row[j] = next;
        }
    }
    return row[b.size()];
}

}  // namespace

const std::vector<key_row>& key_table()
{
    static const auto table = make_table();
    return table;
}

const key_row* find_key(std::string_view name)
{
    if (name == "agents.socket") name = "agents.sockets";
    for (const auto& row : key_table())
        if (row.name == name) return &row;
    return nullptr;
}

const std::vector<std::string_view>& provider_keys()
{
    static const std::vector<std::string_view> keys{"enabled",
                                                    "api",
                                                    "base_url",
                                                    "allow_plain_http",
                                                    "key",
                                                    "keys",
                                                    "credential",
                                                    "ca_file",
                                                    "connect_timeout",
                                                    "first_byte_timeout",
                                                    "idle_timeout",
                                                    "max_idle_connections",
                                                    "keepalive"};
    return keys;
}

const std::vector<std::string_view>& price_keys()
{
    static const std::vector<std::string_view> keys{"format", "path"};
    return keys;
}

verdict take_number(const raw_value& v, double least, double most, double& into)
{
    double n = 0;
    if (const auto* i = std::get_if<std::int64_t>(&v))
        n = static_cast<double>(*i);
    else if (const auto* d = std::get_if<double>(&v))
        n = *d;
    else
        return expected("a number", v);
    if (!std::isfinite(n) || n < least || n > most)
        return {"is out of range", "from " + std::to_string(least) + " to " + std::to_string(most)};
    into = n;
    return {};
}

verdict take_text(const raw_value& v, std::string& into)
{
    const auto* t = std::get_if<std::string>(&v);
    if (t == nullptr) return expected("a string", v);
    for (const char c : *t)
        if (static_cast<unsigned char>(c) < 0x20)
            return {"has a control character in it", "write it on one line"};
    into = *t;
    return {};
}

std::string nearest(std::string_view name, const std::vector<std::string_view>& known)
{
    std::string_view best;
    std::size_t least = 4;
    for (const auto k : known)
        if (const auto d = distance(name, k); d < least && d < std::max<std::size_t>(k.size() / 2, 2)) {
            least = d;
            best = k;
        }
    return std::string(best);
}

}  // namespace keyhole::config
