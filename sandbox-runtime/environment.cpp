#include "sandbox-runtime/environment.hpp"

#include "bridge/system.hpp"
#include "sandbox-runtime/provider_keys.hpp"

#include <algorithm>

namespace keyhole::runtime {
namespace {

// The last four invite a program to use descriptors and sockets that were never its own.
constexpr std::string_view control_names[] = {"SESSION_TOKEN", "SESSION_TOKEN_FILE", "SESSION_ID",
                                              "LISTEN_FDS",    "LISTEN_PID",         "LISTEN_FDNAMES",
                                              "NOTIFY_SOCKET"};
constexpr std::string_view control_prefixes[] = {"CONTROL_", "KEYHOLE_"};

constexpr std::string_view loader_names[] = {"BASH_ENV",     "BASHOPTS",          "ENV",
                                             "GCONV_PATH",   "GETCONF_DIR",       "GIT_EXEC_PATH",
                                             "GIT_SSH",      "GIT_SSH_COMMAND",   "GLIBC_TUNABLES",
                                             "HOSTALIASES",  "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS",
                                             "LOCALDOMAIN",  "LOCPATH",           "NLSPATH",
                                             "NODE_OPTIONS", "NODE_PATH",         "PERL5LIB",
                                             "PERL5OPT",     "PROMPT_COMMAND",    "PS4",
                                             "PYTHONHOME",   "PYTHONINSPECT",     "PYTHONSTARTUP",
                                             "RES_OPTIONS",  "RUBYLIB",           "RUBYOPT",
                                             "SHELLOPTS",    "_JAVA_OPTIONS"};
constexpr std::string_view loader_prefixes[] = {"LD_", "DYLD_", "BASH_FUNC_"};

struct base_url {
    std::string_view name;
    std::string_view path;       ///< what that client wants behind the host
    bool promises_model = true;  ///< set by whoever started the container: the agent is meant to have a model
};

// Who reads them: OpenAI's SDKs and all that copy them, LiteLLM and aider (…_API_BASE), Anthropic's SDKs and
// Claude Code, Google's Gen AI SDKs, Anthropic on Bedrock and on Vertex, AWS's SDKs, Cohere's SDKs, Ollama's
// (whose servers use OLLAMA_HOST, too).
constexpr base_url base_urls[] = {{"OPENAI_API_BASE", "/v1"},
                                  {"OPENAI_BASE_URL", "/v1"},
                                  {"ANTHROPIC_BASE_URL", ""},
                                  {"ANTHROPIC_API_BASE", ""},
                                  {"GOOGLE_GEMINI_BASE_URL", ""},
                                  {"ANTHROPIC_BEDROCK_BASE_URL", ""},
                                  {"ANTHROPIC_VERTEX_BASE_URL", "/v1"},
                                  {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME", ""},
                                  {"CO_API_URL", "", false},
                                  {"OLLAMA_HOST", "", false},
                                  {"OLLAMA_API_BASE", "", false}};

// Not a secret: whoever the session is, the socket or the bridge says so. SDKs refuse to start without a key.
constexpr std::string_view placeholder = "keyhole-session";

template <class List>
bool contains(const List& list, std::string_view name) noexcept
{
    return std::any_of(std::begin(list), std::end(list),
                       [name](std::string_view each) { return each == name; });
}

template <class List>
bool has_prefix_of(const List& list, std::string_view name) noexcept
{
    return std::any_of(std::begin(list), std::end(list),
                       [name](std::string_view prefix) { return name.starts_with(prefix); });
}

std::string_view name_of(std::string_view entry) noexcept
{
    return entry.substr(0, entry.find('='));
}

}  // namespace

bool is_control_variable(std::string_view name) noexcept
{
    return contains(control_names, name) || has_prefix_of(control_prefixes, name);
}

bool is_loader_variable(std::string_view name) noexcept
{
    return contains(loader_names, name) || has_prefix_of(loader_prefixes, name);
}

environment::environment(char** envp, std::vector<std::string> keep, std::vector<std::string> drop)
    : keep_(std::move(keep)), drop_(std::move(drop))
{
    for (char** each = envp; *each != nullptr; ++each) {
        const std::string_view entry = *each;
        const std::string_view name = name_of(entry);
        if (name.empty() || name.size() == entry.size() || is_dropped(name)) continue;
        if (is_withheld(name)) {
            left_out_.emplace_back(name);
            continue;
        }
        if (!contains(entries_, entry)) entries_.emplace_back(entry);
    }
}

bool environment::is_dropped(std::string_view name) const noexcept
{
    return is_control_variable(name) ||
           std::any_of(drop_.begin(), drop_.end(), [name](std::string_view each) {
               if (!each.ends_with('*')) return each == name;
               each.remove_suffix(1);
               return name.starts_with(each);
           });
}

bool environment::is_withheld(std::string_view name) const noexcept
{
    return is_loader_variable(name) && !contains(keep_, name);
}

std::string_view environment::get(std::string_view name) const noexcept
{
    for (const std::string& entry : entries_)
        if (name_of(entry) == name) return std::string_view(entry).substr(name.size() + 1);
    return {};
}

bool environment::has(std::string_view name) const noexcept
{
    return !get(name).empty();
}

void environment::set(std::string_view name, std::string_view value)
{
    remove(name);
    std::string entry(name);
    entry += '=';
    entry += value;
    entries_.push_back(std::move(entry));
}

void environment::set_default(std::string_view name, std::string_view value)
{
    if (!has(name)) set(name, value);
}

void environment::remove(std::string_view name)
{
    std::erase_if(entries_, [name](const std::string& entry) { return name_of(entry) == name; });
}

std::vector<std::string> environment::remove_all_with(std::string_view secret)
{
    std::vector<std::string> names;
    for (std::string& entry : entries_) {
        const std::string_view name = name_of(entry);
        if (entry.find(secret, name.size() + 1) == std::string::npos) continue;
        names.emplace_back(name);
        sys::wipe(entry.data() + name.size() + 1, entry.size() - name.size() - 1);
    }
    for (const std::string& name : names)
        remove(name);
    return names;
}

void environment::wipe() noexcept
{
    for (std::string& entry : entries_)
        sys::wipe(entry.data(), entry.size());
    entries_.clear();
}

std::vector<char*> environment::pointers()
{
    std::vector<char*> out;
    out.reserve(entries_.size() + 1);
    for (std::string& entry : entries_)
        out.push_back(entry.data());
    out.push_back(nullptr);
    return out;
}

std::string find_provider_key(const environment& env, const std::vector<std::string>& allowed)
{
    for (const std::string& entry : env.entries()) {
        const std::string_view name = name_of(entry);
        if (!contains(allowed, name) &&
            looks_like_provider_key(std::string_view(entry).substr(name.size() + 1)))
            return std::string(name);
    }
    return {};
}

bool expects_a_proxy(const environment& env) noexcept
{
    return std::any_of(std::begin(base_urls), std::end(base_urls),
                       [&env](const base_url& each) { return each.promises_model && env.has(each.name); });
}

void add_client_defaults(environment& env, std::uint16_t port)
{
    // Not localhost: without a network it may resolve to a ::1 that is off.
    const std::string base = "http://127.0.0.1:" + std::to_string(port);
    for (const base_url& each : base_urls)
        env.set_default(each.name, base + std::string(each.path));

    for (const std::string_view name : {"OPENAI_API_KEY", "CODEX_API_KEY", "AWS_BEARER_TOKEN_BEDROCK"})
        env.set_default(name, placeholder);
    // Claude Code asks about an ANTHROPIC_API_KEY and warns when there are both; the token alone is silent.
    if (!env.has("ANTHROPIC_API_KEY")) env.set_default("ANTHROPIC_AUTH_TOKEN", placeholder);
    if (!env.has("GOOGLE_API_KEY")) env.set_default("GEMINI_API_KEY", placeholder);
    env.set_default("AWS_REGION", "us-east-1");
    env.set_default("AWS_EC2_METADATA_DISABLED", "true");
    env.set_default("GEMINI_CLI_TRUST_WORKSPACE", "true");

    for (const std::string_view name :
         {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "DISABLE_TELEMETRY", "DISABLE_AUTOUPDATER",
          "OPENCODE_DISABLE_MODELS_FETCH", "OPENCODE_DISABLE_AUTOUPDATE", "PI_OFFLINE"})
        env.set_default(name, "1");
    // Clients honour HTTP_PROXY even for loopback.
    for (const std::string_view name : {"NO_PROXY", "no_proxy"})
        env.set_default(name, "localhost,127.0.0.1,::1");
}

std::string_view raw_value(char** envp, std::string_view name) noexcept
{
    for (char** each = envp; *each != nullptr; ++each) {
        const std::string_view entry = *each;
        if (name_of(entry) == name && entry.size() > name.size()) return entry.substr(name.size() + 1);
    }
    return {};
}

std::vector<std::string> split_words(std::string_view text)
{
    std::vector<std::string> names;
    while (!text.empty()) {
        const std::size_t end = text.find_first_of(", \t\n");
        if (end != 0) names.emplace_back(text.substr(0, end));
        if (end == std::string_view::npos) break;
        text.remove_prefix(end + 1);
    }
    return names;
}

}  // namespace keyhole::runtime
