#include "bridge/options.hpp"

#include <cstring>

namespace keyhole::bridge {
namespace {

std::string_view value_of(char** environment, std::string_view name)
{
    for (char** entry = environment; *entry != nullptr; ++entry) {
        const std::string_view pair = *entry;
        if (pair.size() > name.size() && pair.substr(0, name.size()) == name && pair[name.size()] == '=')
            return pair.substr(name.size() + 1);
    }
    return {};
}

bool to_int(std::string_view text, int max, int& out)
{
    const auto number = sys::parse_number(text, static_cast<std::uint64_t>(max));
    if (number) out = static_cast<int>(*number);
    return number.has_value();
}

bool set_option(std::string_view name, std::string_view value, options& out)
{
    constexpr int most_fds = 1 << 20;
    constexpr int hour = 3600;
    int number = 0;
    if (name == "--socket") {
        out.socket = value;
        return !value.empty();
    }
    if (name == "--listen") return parse_listen_address(value, out.listen);
    if (name == "--listen-fd") {
        if (!to_int(value, most_fds, number)) return false;
        out.listen_fds.push_back(number);
        return true;
    }
    if (name == "--token-fd") return to_int(value, most_fds, out.token_fd);
    if (name == "--ready-fd") return to_int(value, most_fds, out.ready_fd);
    if (name == "--parent") return to_int(value, 1 << 30, out.parent);
    if (name == "--probe") return to_int(value, hour, out.probe_seconds);
    if (name == "--max-connections") {
        if (!to_int(value, 1'000'000, number) || number == 0) return false;
        out.max_connections = static_cast<std::uint32_t>(number);
        return true;
    }
    if (name == "--connect-wait" || name == "--drain") {
        if (!to_int(value, hour, number)) return false;
        (name == "--drain" ? out.drain_ms : out.connect_wait_ms) = number * 1000;
        return true;
    }
    if (name == "--hand-off") {
        out.hand_off = value == "yes";
        return value == "yes" || value == "no";
    }
    return false;
}

bool is_known(std::string_view name)
{
    for (const std::string_view known :
         {"--socket", "--listen", "--listen-fd", "--token-fd", "--ready-fd", "--parent", "--probe",
          "--max-connections", "--connect-wait", "--drain", "--hand-off"})
        if (name == known) return true;
    return false;
}

}  // namespace

const char help_text[] =
    R"(keyhole-bridge: 127.0.0.1:8080 in a sandbox is the proxy's unix socket.

usage: keyhole-bridge [options]

  --socket PATH          the proxy's socket       ($LLM_PROXY_SOCKET, default /llm-sock/llm.sock)
  --listen [HOST:]PORT   where agents connect     (port $LLM_PROXY_PORT, default 8080, on 127.0.0.1 and ::1); repeatable
  --any-address          allow --listen on an address that is not loopback
  --listen-fd N          serve this inherited listening socket; repeatable; replaces --listen
  --token-fd N           read a session token from this descriptor and open each connection to the proxy with a PROXY protocol v2
                         header that carries it (TLV 0xE0)
  --ready-fd N           write one byte here when connections are served: '+' (also without --probe), or '-' if the probe failed
  --probe SECONDS        at start, wait up to SECONDS for the proxy to answer
  --parent PID           end with this parent process
  --connect-wait SECONDS how long a connection waits for an absent proxy before it gets 503 (default 5)
  --hand-off yes|no      pass accepted connections to the proxy itself where it takes them (yes, the default), or relay all of them
  --max-connections N    more than this get 503 at once (default 16384, and what the open-files limit allows)
  --drain SECONDS        after SIGTERM, how long open connections may go on (default 10)
  --help, --version

signals: SIGTERM and SIGINT drain, a second one ends at once; SIGUSR1 prints counters on stderr.
exit codes: 0 drained or its parent ended; 64 wrong option; 69 cannot listen; 71 the operating system refused; 78 wrong token.
)";

parse_result parse_options(int argc, char** argv, char** environment, options& out, std::string& error)
{
    if (const auto socket = value_of(environment, "LLM_PROXY_SOCKET"); !socket.empty()) out.socket = socket;
    for (int i = 1; i < argc; ++i) {
        std::string_view name = argv[i];
        if (name == "--help" || name == "-h") return parse_result::help;
        if (name == "--version") return parse_result::version;
        if (name == "--any-address") {
            out.any_address = true;
            continue;
        }
        std::string_view value;
        const auto equals = name.find('=');
        if (equals != std::string_view::npos) {
            value = name.substr(equals + 1);
            name = name.substr(0, equals);
        }
        if (!is_known(name)) {
            error = "unknown option " + std::string(name) + "; see --help";
            return parse_result::wrong;
        }
        if (equals == std::string_view::npos) {
            if (++i == argc) {
                error = std::string(name) + " needs a value; see --help";
                return parse_result::wrong;
            }
            value = argv[i];
        }
        if (!set_option(name, value, out)) {
            error = std::string(name) + " cannot be '" + std::string(value) + "'; see --help";
            return parse_result::wrong;
        }
    }
    if (!out.listen_fds.empty()) {
        out.listen.clear();
        return parse_result::run;
    }
    if (out.listen.empty()) {
        const auto port = value_of(environment, "LLM_PROXY_PORT");
        const std::string_view wanted = port.empty() ? "8080" : port;
        if (wanted.find(':') != std::string_view::npos || !parse_listen_address(wanted, out.listen)) {
            error = "LLM_PROXY_PORT cannot be '" + std::string(wanted) + "': it is a number from 1 to 65535";
            return parse_result::wrong;
        }
    }
    for (const listen_address& address : out.listen)
        if (!is_loopback(address) && !out.any_address) {
            error = "--listen " + address.host +
                    " is not loopback: others on that network could use this session; "
                    "add --any-address if that is meant";
            return parse_result::wrong;
        }
    return parse_result::run;
}

}  // namespace keyhole::bridge
